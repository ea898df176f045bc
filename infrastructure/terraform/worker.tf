locals {
  prefix = "plexus-scoring-${var.stage}"
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

# The worker itself calls no AWS service.
resource "aws_iam_role" "task" {
  name_prefix        = "${local.prefix}-worker-"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
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
      name                   = "worker"
      image                  = var.image
      command                = ["worker", "--transport", "rabbitmq"]
      essential              = true
      user                   = "1001"
      readonlyRootFilesystem = true
      stopTimeout            = 120
      mountPoints            = [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }]
      portMappings           = [{ containerPort = 8080 }]
      environment = [
        { name = "PLEXUS_ENVIRONMENT", value = var.stage },
        { name = "PLEXUS_ACCOUNT_KEY", value = var.account_key },
        { name = "PLEXUS_STORE", value = "sql" },
        { name = "PLEXUS_DRAIN_SECONDS", value = tostring(var.drain_seconds) },
        { name = "PLEXUS_RABBITMQ_REQUEST_QUEUE", value = "${local.prefix}-requests" },
        { name = "PLEXUS_RABBITMQ_RESPONSE_QUEUE", value = "${local.prefix}-responses" },
      ]
      secrets = [
        { name = "PLEXUS_RABBITMQ_URL", valueFrom = aws_secretsmanager_secret.broker.arn },
        { name = "PLEXUS_DATABASE_URL", valueFrom = "${var.database_secret_arn}:PLEXUS_DATABASE_URL::" },
      ]
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = aws_cloudwatch_log_group.worker.name
          awslogs-region        = var.region
          awslogs-stream-prefix = "worker"
        }
      }
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
