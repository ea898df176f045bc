variable "region" {
  description = "AWS region."
  type        = string
}

variable "stage" {
  description = "Name of the deployment; part of every name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.stage))
    error_message = "stage must be 1 to 20 of a-z, 0-9 and -, beginning with a letter."
  }
}

variable "state_bucket" {
  description = "Bucket of the Terraform state (used by backend/)."
  type        = string
  default     = ""
}

variable "vpc_id" {
  description = "VPC in which broker and worker run."
  type        = string
}

variable "private_subnet_ids" {
  description = "Private subnets, in two zones for a cluster of brokers."
  type        = list(string)

  validation {
    condition     = length(var.private_subnet_ids) >= 1
    error_message = "private_subnet_ids must name at least one subnet."
  }
}

variable "image" {
  description = "The worker's image, by digest: repository@sha256:…"
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "image must end in @sha256: and 64 hexadecimal digits; a tag can move."
  }
}

variable "account_key" {
  description = "Plexus account whose jobs are worked on."
  type        = string
  default     = "default"
}

variable "database_secret_arn" {
  description = "ARN of a secret with PLEXUS_DATABASE_URL, and with API keys if scores need them, as one JSON object."
  type        = string
}

variable "attachments_bucket" {
  description = "S3 bucket of traces and logs; without one they are lost with the task."
  type        = string
  default     = ""
}

variable "broker_instance_type" {
  description = "Size of the broker."
  type        = string
  default     = "mq.m5.large"
}

variable "broker_deployment_mode" {
  description = "SINGLE_INSTANCE or CLUSTER_MULTI_AZ; quorum queues survive a broker only in a cluster."
  type        = string
  default     = "CLUSTER_MULTI_AZ"

  validation {
    condition     = contains(["SINGLE_INSTANCE", "CLUSTER_MULTI_AZ"], var.broker_deployment_mode)
    error_message = "broker_deployment_mode must be SINGLE_INSTANCE or CLUSTER_MULTI_AZ."
  }
}

variable "cpu" {
  description = "CPU units of a task."
  type        = number
  default     = 512
}

variable "memory" {
  description = "MiB of a task."
  type        = number
  default     = 1024
}

variable "tasks" {
  description = "Number of tasks."
  type        = number
  default     = 2
}

variable "drain_seconds" {
  description = "How long jobs in flight may go on; Fargate kills a task 120 s after SIGTERM."
  type        = number
  default     = 100

  validation {
    condition     = var.drain_seconds > 0 && var.drain_seconds <= 110
    error_message = "drain_seconds must be 1 to 110."
  }
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30
}
