# AmazonMQ for RabbitMQ, reachable by the worker only.
resource "random_password" "broker" {
  length  = 32
  special = false # it stands in a URL
}

resource "aws_security_group" "broker" {
  name_prefix = "${local.prefix}-broker-"
  description = "RabbitMQ of ${local.prefix}"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "amqps" {
  security_group_id            = aws_security_group.broker.id
  referenced_security_group_id = aws_security_group.worker.id
  description                  = "AMQP over TLS from the worker"
  ip_protocol                  = "tcp"
  from_port                    = 5671
  to_port                      = 5671
}

resource "aws_mq_broker" "rabbitmq" {
  broker_name                = local.prefix
  engine_type                = "RabbitMQ"
  engine_version             = "3.13"
  host_instance_type         = var.broker_instance_type
  deployment_mode            = var.broker_deployment_mode
  publicly_accessible        = false
  auto_minor_version_upgrade = true
  subnet_ids                 = var.broker_deployment_mode == "SINGLE_INSTANCE" ? slice(var.private_subnet_ids, 0, 1) : var.private_subnet_ids
  security_groups            = [aws_security_group.broker.id]

  user {
    username = "plexus"
    password = random_password.broker.result
  }

  logs {
    general = true
  }
}

resource "aws_secretsmanager_secret" "broker" {
  name_prefix = "${local.prefix}-rabbitmq-"
  description = "URL of the broker"
}

resource "aws_secretsmanager_secret_version" "broker" {
  secret_id = aws_secretsmanager_secret.broker.id
  secret_string = format(
    "amqps://plexus:%s@%s",
    random_password.broker.result,
    trimprefix(aws_mq_broker.rabbitmq.instances[0].endpoints[0], "amqps://"),
  )
}
