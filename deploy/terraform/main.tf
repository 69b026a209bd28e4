# Deploys a release: uploads the function's zip file and the template, and creates the CloudFormation stack.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.17"
    }
  }
}

locals {
  parameters = {
    Architecture              = var.architecture
    Ingress                   = var.ingress
    ApiRequestsPerSecond      = var.api_requests_per_second
    DomainName                = var.domain_name
    CertificateArn            = var.certificate_arn
    HostedZoneId              = var.hosted_zone_id
    BasePath                  = var.base_path
    DefaultEndpoint           = var.default_endpoint
    WebAclArn                 = var.web_acl_arn
    AllowedSourceIps          = var.allowed_source_ips == null ? null : join(",", var.allowed_source_ips)
    RestApiDeployment         = var.rest_api_deployment
    ApiGatewayLogRole         = var.api_gateway_log_role
    ExistingSecretArn         = var.existing_secret_arn
    ExistingSecretKeyArn      = var.existing_secret_key_arn
    WebhookToleranceSeconds   = var.webhook_tolerance_seconds
    Validation                = var.validation
    EnvironmentId             = var.environment_id
    EventSource               = var.event_source
    ExistingEventBus          = var.existing_event_bus
    ArchiveDays               = var.archive_days
    ConsumerOrganizationId    = var.consumer_organization_id
    ConsumerAccountIds        = var.consumer_account_ids == null ? null : join(",", var.consumer_account_ids)
    BusLogLevel               = var.bus_log_level
    QueueWriterArns           = var.queue_writer_arns == null ? null : join(",", var.queue_writer_arns)
    DrainConcurrency          = var.drain_concurrency
    DrainBatchSize            = var.drain_batch_size
    ReservedConcurrency       = var.reserved_concurrency
    Tracing                   = var.tracing
    LogRetentionDays          = var.log_retention_days
    AlarmEmail                = var.alarm_email
    AlarmTopicArn             = var.alarm_topic_arn
    NothingForwardedThreshold = var.nothing_forwarded_threshold
    SilenceHours              = var.silence_hours
    FloodThreshold            = var.flood_threshold
    DocumentationUrl          = var.documentation_url
    KmsKeyArn                 = var.kms_key_arn
    PermissionsBoundaryArn    = var.permissions_boundary_arn
    RolePath                  = var.role_path
  }
}

# The key contains the checksum, because CloudFormation updates the code only if the key changes. The previous file must
# remain until the stack is updated, so that CloudFormation can roll back.
resource "aws_s3_object" "code" {
  bucket             = var.bucket
  key                = "${var.stack_name}/${var.zip_sha256}.zip"
  source             = var.zip
  checksum_algorithm = "SHA256"

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = filesha256(var.zip) == var.zip_sha256
      error_message = "The SHA-256 checksum of ${var.zip} isn't the one in zip_sha256."
    }
  }
}

data "aws_s3_bucket" "release" {
  bucket = var.bucket
}

# The template is too large for a request to CloudFormation. The checksum in the key changes the URL with the template.
resource "aws_s3_object" "template" {
  bucket = var.bucket
  key    = "${var.stack_name}/${filesha256(var.template)}.json"
  source = var.template

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_cloudformation_stack" "scalekit" {
  name         = var.stack_name
  template_url = "https://${data.aws_s3_bucket.release.bucket_regional_domain_name}/${aws_s3_object.template.key}"
  capabilities = ["CAPABILITY_IAM"]
  tags         = var.tags

  parameters = merge(
    { for name, value in local.parameters : name => tostring(value) if value != null },
    { CodeBucket = aws_s3_object.code.bucket, CodeKey = aws_s3_object.code.key },
  )
}
