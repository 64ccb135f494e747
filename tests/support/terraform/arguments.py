"""What the resource types that are used take and give, by the documentation of their providers.

Terraform cannot ask a provider in the tests, so a misspelt argument is found by this table. It holds the arguments that
are used here and those that are required. To use another one, look it up and add it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The arguments and nested blocks of a type or of a nested block, and what may be read from a type."""

    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    exported: frozenset[str] = frozenset()
    blocks: Mapping[str, "Block"] = field(default_factory=dict)

    @property
    def arguments(self) -> frozenset[str]:
        """Everything that may be set, but for nested blocks."""
        return self.required | self.optional

    @property
    def attributes(self) -> frozenset[str]:
        """Everything that may be read."""
        return self.arguments | self.exported


def block(required: str = "", optional: str = "", exported: str = "", **blocks: Block) -> Block:
    """Return a block whose names are separated by spaces. Nested blocks that are required are among ``required``."""
    return Block(
        required=frozenset(required.split()),
        optional=frozenset(optional.split()),
        exported=frozenset(exported.split()),
        blocks=blocks,
    )


_STATEMENT = block(
    "actions",
    "sid effect resources",
    principals=block("type identifiers"),
    condition=block("test variable values"),
)
_RULE = "security_group_id ip_protocol"
_RULE_OPTIONAL = "cidr_ipv4 cidr_ipv6 referenced_security_group_id from_port to_port description tags"
_METRIC = block(
    "id",
    "label expression return_data",
    metric_stat=block(
        "stat metric",
        "unit",
        metric=block("namespace metric_name", dimensions=block("name value")),
    ),
)

TYPES: Mapping[str, Block] = {
    # Data sources
    "aws_caller_identity": block(exported="account_id arn user_id"),
    "aws_iam_policy_document": block(exported="json", statement=_STATEMENT),
    "aws_partition": block(exported="partition dns_suffix reverse_dns_prefix"),
    "aws_region": block(exported="region description endpoint"),
    # Queues, payloads, keys, roles and alarms
    "aws_cloudwatch_metric_alarm": block(
        "alarm_name comparison_operator evaluation_periods",
        "alarm_description namespace metric_name dimensions statistic threshold period treat_missing_data "
        "alarm_actions ok_actions tags",
        "arn id",
    ),
    "aws_eks_pod_identity_association": block("cluster_name namespace service_account role_arn", "tags"),
    "aws_iam_role": block("assume_role_policy", "name tags", "arn id"),
    "aws_iam_role_policy": block("role policy", "name", "id"),
    "aws_iam_role_policy_attachment": block("role policy_arn"),
    "aws_kms_alias": block("target_key_id", "name", "arn"),
    "aws_kms_key": block("", "description enable_key_rotation tags", "arn key_id"),
    "aws_s3_bucket": block("", "bucket bucket_prefix tags", "arn id"),
    "aws_s3_bucket_lifecycle_configuration": block(
        "bucket rule",
        rule=block(
            "id status",
            filter=block(tag=block("key value")),
            expiration=block("", "days"),
            abort_incomplete_multipart_upload=block("", "days_after_initiation"),
        ),
    ),
    "aws_s3_bucket_policy": block("bucket policy"),
    "aws_s3_bucket_public_access_block": block(
        "bucket", "block_public_acls block_public_policy ignore_public_acls restrict_public_buckets"
    ),
    "aws_s3_bucket_server_side_encryption_configuration": block(
        "bucket rule",
        rule=block(
            "",
            "bucket_key_enabled",
            apply_server_side_encryption_by_default=block("sse_algorithm", "kms_master_key_id"),
        ),
    ),
    "aws_sns_topic": block("", "name kms_master_key_id tags", "arn id"),
    "aws_sqs_queue": block(
        "",
        "name fifo_queue deduplication_scope fifo_throughput_limit visibility_timeout_seconds "
        "message_retention_seconds max_message_size receive_wait_time_seconds kms_master_key_id "
        "kms_data_key_reuse_period_seconds redrive_policy tags",
        "arn id url",
    ),
    "aws_sqs_queue_policy": block("queue_url policy"),
    "aws_sqs_queue_redrive_allow_policy": block("queue_url redrive_allow_policy"),
    # ECS, and what stands around it
    "aws_appautoscaling_policy": block(
        "name resource_id scalable_dimension service_namespace",
        "policy_type",
        "arn",
        target_tracking_scaling_policy_configuration=block(
            "target_value",
            "scale_in_cooldown scale_out_cooldown disable_scale_in",
            predefined_metric_specification=block("predefined_metric_type", "resource_label"),
            customized_metric_specification=block(
                "", "dimensions metric_name namespace statistic unit", metrics=_METRIC
            ),
        ),
    ),
    "aws_appautoscaling_target": block(
        "max_capacity min_capacity resource_id scalable_dimension service_namespace", "role_arn tags", "arn"
    ),
    "aws_cloudwatch_log_group": block("", "name retention_in_days kms_key_id tags", "arn"),
    "aws_db_instance": block(
        "instance_class",
        "identifier engine engine_version db_name username password storage_type allocated_storage "
        "max_allocated_storage storage_encrypted kms_key_id multi_az db_subnet_group_name vpc_security_group_ids "
        "backup_retention_period deletion_protection final_snapshot_identifier skip_final_snapshot tags",
        "address arn endpoint id port",
    ),
    "aws_db_subnet_group": block("subnet_ids", "name description tags", "arn id"),
    "aws_ecs_cluster": block("name", "tags", "arn id", setting=block("name value")),
    "aws_ecs_service": block(
        "name",
        "cluster task_definition launch_type desired_count health_check_grace_period_seconds "
        "deployment_minimum_healthy_percent deployment_maximum_percent tags",
        "id",
        network_configuration=block("subnets", "security_groups assign_public_ip"),
        load_balancer=block("container_name container_port", "target_group_arn"),
        deployment_circuit_breaker=block("enable rollback"),
    ),
    "aws_ecs_task_definition": block(
        "family container_definitions",
        "requires_compatibilities network_mode cpu memory execution_role_arn task_role_arn tags",
        "arn revision",
        runtime_platform=block("", "operating_system_family cpu_architecture"),
        volume=block("name", "configure_at_launch host_path"),
    ),
    "aws_lb": block(
        "", "name internal load_balancer_type security_groups subnets idle_timeout tags", "arn dns_name id zone_id"
    ),
    "aws_lb_listener": block(
        "load_balancer_arn default_action",
        "port protocol ssl_policy certificate_arn tags",
        "arn id",
        default_action=block("type", "target_group_arn"),
    ),
    "aws_lb_target_group": block(
        "",
        "name target_type vpc_id port protocol deregistration_delay tags",
        "arn id",
        health_check=block("", "path matcher interval timeout healthy_threshold unhealthy_threshold port protocol"),
    ),
    "aws_secretsmanager_secret": block("", "name name_prefix description kms_key_id tags", "arn id"),
    "aws_secretsmanager_secret_version": block("secret_id", "secret_string", "arn version_id"),
    "aws_security_group": block("", "name name_prefix description vpc_id tags", "arn id"),
    "aws_vpc_security_group_egress_rule": block(_RULE, _RULE_OPTIONAL, "arn id"),
    "aws_vpc_security_group_ingress_rule": block(_RULE, _RULE_OPTIONAL, "arn id"),
    "random_bytes": block("length", "keepers", "base64 hex"),
    "random_password": block("length", "special keepers", "result"),
}
