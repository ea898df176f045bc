"""The optional long-lived services on ECS Fargate: the worker and the REST API. Both run the worker image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Fn
from aws_cdk import aws_applicationautoscaling as autoscaling
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infrastructure import nag
from infrastructure.config.model import ApiConfig, StageConfig, TaskConfig
from infrastructure.constructs.encryption import EncryptedLogs
from infrastructure.functions import WORKER_REPOSITORY, digest_parameter

APP_USER = "1001"
API_PORT = 8080
HEALTH_PORT = 8080
VPC_RANGE = "10.0.0.0/16"
DRAIN_SECONDS = 100
STOP_TIMEOUT = Duration.seconds(
    120
)  # Fargate's longest; what the drain leaves over is released in the rest


class ServiceCluster(Construct):
    """A VPC with two zones and one NAT gateway, flow logs, and an ECS cluster in it."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: StageConfig, logs: EncryptedLogs
    ) -> None:
        """Create network and cluster."""
        super().__init__(scope, construct_id)
        self.stage = stage
        self.logs = logs
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(VPC_RANGE),
            max_azs=2,
            nat_gateways=1,
            restrict_default_security_group=False,
            gateway_endpoints={
                "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3),
                "DynamoDB": ec2.GatewayVpcEndpointOptions(
                    service=ec2.GatewayVpcEndpointAwsService.DYNAMODB
                ),
            },
        )
        self.vpc.add_flow_log(
            "Flow",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(
                logs.group("Flow", f"/plexus-scoring/{stage.name}/vpc")
            ),
            traffic_type=ec2.FlowLogTrafficType.REJECT,
        )
        self.cluster = ecs.Cluster(
            self, "Cluster", vpc=self.vpc, container_insights_v2=ecs.ContainerInsights.ENABLED
        )


class ContainerService(Construct):
    """A Fargate service: no root, read-only root file system, image by digest, roll-back of a failed deployment."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: ServiceCluster,
        size: TaskConfig,
        commit: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        port: int,
    ) -> None:
        """Create the task and its service."""
        super().__init__(scope, construct_id)
        stage = cluster.stage
        name = f"{stage.prefix}-{construct_id.lower()}"
        repository = ecr.Repository.from_repository_name(self, "Repository", WORKER_REPOSITORY)
        digest = ssm.StringParameter.value_for_string_parameter(
            self, digest_parameter(stage.name, "worker", commit)
        )
        self.role = iam.Role(
            self,
            "TaskRole",
            assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"),
            description=f"What {name} may do",
        )
        task = ecs.FargateTaskDefinition(
            self,
            "Task",
            cpu=size.cpu,
            memory_limit_mib=size.memory_mib,
            task_role=self.role,
            family=name,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=(
                    ecs.CpuArchitecture.ARM64
                    if stage.architecture == "arm64"
                    else ecs.CpuArchitecture.X86_64
                ),
                operating_system_family=ecs.OperatingSystemFamily.LINUX,
            ),
            volumes=[ecs.Volume(name="tmp")],
        )
        container = task.add_container(
            "Main",
            image=ecs.ContainerImage.from_registry(
                Fn.join("", [repository.repository_uri, "@", digest])
            ),
            command=list(command),
            environment={**environment, "PLEXUS_SCORING_REVISION": commit},
            user=APP_USER,
            readonly_root_filesystem=True,
            stop_timeout=STOP_TIMEOUT,
            health_check=ecs.HealthCheck(
                command=["CMD", "/app/bin/python", "-c", health_probe(port)],
                interval=Duration.seconds(15),
                timeout=Duration.seconds(5),
                retries=3,
                start_period=Duration.seconds(60),
            ),
            port_mappings=[ecs.PortMapping(container_port=port)],
            logging=ecs.LogDrivers.aws_logs(
                stream_prefix="main",
                log_group=cluster.logs.group(construct_id, f"/plexus-scoring/{name}"),
            ),
        )
        container.add_mount_points(
            ecs.MountPoint(container_path="/tmp", source_volume="tmp", read_only=False)  # noqa: S108  the one writable place
        )
        execution = task.obtain_execution_role()
        repository.grant_pull(execution)
        self.service = ecs.FargateService(
            self,
            "Service",
            cluster=cluster.cluster,
            task_definition=task,
            min_healthy_percent=100,
            circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),
        )
        self.scaling = self.service.auto_scale_task_count(
            min_capacity=size.least_tasks, max_capacity=size.most_tasks
        )
        nag.acknowledge(
            execution,
            "ecr:GetAuthorizationToken takes no resource.",
            "IAM5[Resource::*]",
        )
        nag.acknowledge(
            task,
            "The environment holds names and ARNs; secrets are read at run time.",
            "ECS2",
        )


def health_probe(port: int) -> str:
    """Return Python that fails unless ``/livez`` answers; ECS ignores the image's own health check."""
    return f"import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/livez', timeout=4)"


def scale_with_queue(service: ContainerService, queue: sqs.IQueue) -> None:
    """Add tasks as the queue grows; take them away slowly, because each must drain first."""
    service.scaling.scale_on_metric(
        "QueueDepth",
        metric=queue.metric_approximate_number_of_messages_visible(
            period=Duration.minutes(1), statistic="Maximum"
        ),
        adjustment_type=autoscaling.AdjustmentType.CHANGE_IN_CAPACITY,
        cooldown=Duration.minutes(3),
        scaling_steps=[
            autoscaling.ScalingInterval(upper=0, change=-1),
            autoscaling.ScalingInterval(lower=1, change=1),
            autoscaling.ScalingInterval(lower=100, change=2),
            autoscaling.ScalingInterval(lower=1000, change=5),
        ],
    )


class ApiEntrance(Construct):
    """HTTPS in front of the REST API."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: ServiceCluster,
        service: ContainerService,
        config: ApiConfig,
    ) -> None:
        """Create the load balancer, its listener and health check."""
        super().__init__(scope, construct_id)
        balancer = elbv2.ApplicationLoadBalancer(
            self,
            "Balancer",
            vpc=cluster.vpc,
            internet_facing=not config.internal,
            drop_invalid_header_fields=True,
            deletion_protection=cluster.stage.retain_data,
        )
        listener = balancer.add_listener(
            "Https",
            port=443,
            certificates=[
                acm.Certificate.from_certificate_arn(self, "Certificate", config.certificate_arn)
            ],
            ssl_policy=elbv2.SslPolicy.RECOMMENDED_TLS,
            open=not config.internal,
        )
        if config.internal:
            listener.connections.allow_default_port_from(
                ec2.Peer.ipv4(VPC_RANGE), "from within the VPC"
            )
        listener.add_targets(
            "Api",
            port=API_PORT,
            protocol=elbv2.ApplicationProtocol.HTTP,
            targets=[service.service],
            health_check=elbv2.HealthCheck(path="/readyz", healthy_http_codes="200"),
            deregistration_delay=Duration.seconds(30),
        )
        service.scaling.scale_on_cpu_utilization("Cpu", target_utilization_percent=60)
        nag.acknowledge(
            balancer,
            "Access logs of a load balancer need a bucket policy per region; the API logs each request itself.",
            "ELB2",
        )
