locals {
  prefix       = "plexus-scoring-${var.stage}"
  database_url = { name = "PLEXUS_DATABASE_URL", valueFrom = "${var.database_secret_arn}:PLEXUS_DATABASE_URL::" }
  logs = {
    logDriver = "awslogs"
    options = {
      awslogs-group         = aws_cloudwatch_log_group.worker.name
      awslogs-region        = var.region
      awslogs-stream-prefix = "worker"
    }
  }
}

resource "aws_ecs_cluster" "main" {
  name = local.prefix

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_cloudwatch_log_group" "worker" {
  name              = "/plexus-scoring/${var.stage}/rabbitmq-worker"
  retention_in_days = var.log_retention_days
}

resource "aws_security_group" "worker" {
  name_prefix = "${local.prefix}-worker-"
  description = "Worker of ${local.prefix}"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_egress_rule" "worker" {
  security_group_id = aws_security_group.worker.id
  description       = "Broker, database and model providers"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

data "aws_iam_policy_document" "tasks" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

# Pulls the image and reads the secrets at start.
resource "aws_iam_role" "execution" {
  name_prefix        = "${local.prefix}-start-"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.execution.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

data "aws_iam_policy_document" "secrets" {
  statement {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.broker.arn, var.database_secret_arn]
  }
}

resource "aws_iam_role_policy" "secrets" {
  name   = "secrets"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.secrets.json
}

resource "aws_iam_role" "task" {
  name_prefix        = "${local.prefix}-worker-"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

# The worker reads API keys at run time, and keeps traces and logs in a bucket if one is named.
data "aws_iam_policy_document" "task" {
  statement {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [var.database_secret_arn]
  }

  dynamic "statement" {
    for_each = var.attachments_bucket == "" ? [] : [var.attachments_bucket]

    content {
      actions   = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"]
      resources = ["arn:aws:s3:::${statement.value}/*"]
    }
  }

  # Without it S3 answers 403 for an object that is not there.
  dynamic "statement" {
    for_each = var.attachments_bucket == "" ? [] : [var.attachments_bucket]

    content {
      actions   = ["s3:ListBucket"]
      resources = ["arn:aws:s3:::${statement.value}"]
    }
  }
}

resource "aws_iam_role_policy" "task" {
  name   = "work"
  role   = aws_iam_role.task.id
  policy = data.aws_iam_policy_document.task.json
}

resource "aws_ecs_task_definition" "worker" {
  family                   = "${local.prefix}-rabbitmq-worker"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn

  volume {
    name = "tmp"
  }

  container_definitions = jsonencode([
    {
      # Brings the database to this version's tables; several tasks may do so at once.
      name                   = "database"
      image                  = var.image
      command                = ["db", "upgrade"]
      essential              = false
      user                   = "1001"
      readonlyRootFilesystem = true
      secrets                = [local.database_url]
      logConfiguration       = local.logs
    },
    {
      name                   = "worker"
      image                  = var.image
      command                = ["worker", "--transport", "rabbitmq"]
      essential              = true
      dependsOn              = [{ containerName = "database", condition = "SUCCESS" }]
      user                   = "1001"
      readonlyRootFilesystem = true
      stopTimeout            = 120
      mountPoints            = [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }]
      portMappings           = [{ containerPort = 8080 }]
      # ECS ignores the image's own health check.
      healthCheck = {
        command     = ["CMD", "/app/bin/python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/livez', timeout=4)"]
        interval    = 15
        timeout     = 5
        retries     = 3
        startPeriod = 60
      }
      environment = [
        { name = "PLEXUS_ENVIRONMENT", value = var.stage },
        { name = "PLEXUS_ACCOUNT_KEY", value = var.account_key },
        { name = "PLEXUS_STORE", value = "sql" },
        { name = "PLEXUS_SECRET_ARN", value = var.database_secret_arn },
        { name = "AMPLIFY_STORAGE_SCORERESULTATTACHMENTS_BUCKET_NAME", value = var.attachments_bucket },
        { name = "AWS_DEFAULT_REGION", value = var.region },
        { name = "PLEXUS_DRAIN_SECONDS", value = tostring(var.drain_seconds) },
        { name = "PLEXUS_RABBITMQ_REQUEST_QUEUE", value = "${local.prefix}-requests" },
        { name = "PLEXUS_RABBITMQ_RESPONSE_QUEUE", value = "${local.prefix}-responses" },
      ]
      secrets = [
        { name = "PLEXUS_RABBITMQ_URL", valueFrom = aws_secretsmanager_secret.broker.arn },
        local.database_url,
      ]
      logConfiguration = local.logs
    }
  ])
}

resource "aws_ecs_service" "worker" {
  name                               = "rabbitmq-worker"
  cluster                            = aws_ecs_cluster.main.id
  task_definition                    = aws_ecs_task_definition.worker.arn
  launch_type                        = "FARGATE"
  desired_count                      = var.tasks
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.private_subnet_ids
    security_groups  = [aws_security_group.worker.id]
    assign_public_ip = false
  }
}

output "broker_console" {
  description = "RabbitMQ's own console, within the VPC."
  value       = aws_mq_broker.rabbitmq.instances[0].console_url
}

output "log_group" {
  description = "Where the worker logs."
  value       = aws_cloudwatch_log_group.worker.name
}
