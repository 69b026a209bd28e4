variable "stack_name" {
  description = "The name of the CloudFormation stack. The event bus gets the same name."
  type        = string
  default     = "scalekit"
}

variable "tags" {
  description = "The tags of the stack. CloudFormation adds them to every resource that supports tags."
  type        = map(string)
  default     = {}
}

variable "bucket" {
  description = "The S3 bucket, in the stack's region, that the zip file and the template are uploaded to."
  type        = string
}

variable "zip" {
  description = "The path of the release's zip file for the architecture."
  type        = string
}

variable "zip_sha256" {
  description = "The SHA-256 checksum of the zip file, as in the release's SHA256SUMS."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.zip_sha256))
    error_message = "The checksum must have 64 hexadecimal digits, in lower case."
  }
}

variable "template" {
  description = "The path of the release's template.json or template-without-function-url.json."
  type        = string
}

# The parameters of the template. Without a value, the template's default applies. docs/configuration.md describes them.

variable "architecture" {
  description = "The template's parameter Architecture."
  type        = string
  default     = null
}

variable "ingress" {
  description = "The template's parameter Ingress."
  type        = string
  default     = null
}

variable "api_requests_per_second" {
  description = "The template's parameter ApiRequestsPerSecond."
  type        = number
  default     = null
}

variable "domain_name" {
  description = "The template's parameter DomainName."
  type        = string
  default     = null
}

variable "certificate_arn" {
  description = "The template's parameter CertificateArn."
  type        = string
  default     = null
}

variable "hosted_zone_id" {
  description = "The template's parameter HostedZoneId."
  type        = string
  default     = null
}

variable "base_path" {
  description = "The template's parameter BasePath."
  type        = string
  default     = null
}

variable "default_endpoint" {
  description = "The template's parameter DefaultEndpoint."
  type        = string
  default     = null
}

variable "web_acl_arn" {
  description = "The template's parameter WebAclArn."
  type        = string
  default     = null
}

variable "allowed_source_ips" {
  description = "The template's parameter AllowedSourceIps."
  type        = list(string)
  default     = null
}

variable "rest_api_deployment" {
  description = "The template's parameter RestApiDeployment."
  type        = string
  default     = null
}

variable "api_gateway_log_role" {
  description = "The template's parameter ApiGatewayLogRole."
  type        = string
  default     = null
}

variable "existing_secret_arn" {
  description = "The template's parameter ExistingSecretArn."
  type        = string
  default     = null
}

variable "existing_secret_key_arn" {
  description = "The template's parameter ExistingSecretKeyArn."
  type        = string
  default     = null
}

variable "webhook_tolerance_seconds" {
  description = "The template's parameter WebhookToleranceSeconds."
  type        = number
  default     = null
}

variable "validation" {
  description = "The template's parameter Validation."
  type        = string
  default     = null
}

variable "environment_id" {
  description = "The template's parameter EnvironmentId."
  type        = string
  default     = null
}

variable "event_source" {
  description = "The template's parameter EventSource."
  type        = string
  default     = null
}

variable "existing_event_bus" {
  description = "The template's parameter ExistingEventBus."
  type        = string
  default     = null
}

variable "archive_days" {
  description = "The template's parameter ArchiveDays."
  type        = number
  default     = null
}

variable "consumer_organization_id" {
  description = "The template's parameter ConsumerOrganizationId."
  type        = string
  default     = null
}

variable "consumer_account_ids" {
  description = "The template's parameter ConsumerAccountIds."
  type        = list(string)
  default     = null
}

variable "bus_log_level" {
  description = "The template's parameter BusLogLevel."
  type        = string
  default     = null
}

variable "queue_writer_arns" {
  description = "The template's parameter QueueWriterArns."
  type        = list(string)
  default     = null
}

variable "drain_concurrency" {
  description = "The template's parameter DrainConcurrency."
  type        = number
  default     = null
}

variable "drain_batch_size" {
  description = "The template's parameter DrainBatchSize."
  type        = number
  default     = null
}

variable "reserved_concurrency" {
  description = "The template's parameter ReservedConcurrency."
  type        = number
  default     = null
}

variable "tracing" {
  description = "The template's parameter Tracing."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "The template's parameter LogRetentionDays."
  type        = number
  default     = null
}

variable "alarm_email" {
  description = "The template's parameter AlarmEmail."
  type        = string
  default     = null
}

variable "alarm_topic_arn" {
  description = "The template's parameter AlarmTopicArn."
  type        = string
  default     = null
}

variable "nothing_forwarded_threshold" {
  description = "The template's parameter NothingForwardedThreshold."
  type        = number
  default     = null
}

variable "silence_hours" {
  description = "The template's parameter SilenceHours."
  type        = number
  default     = null
}

variable "flood_threshold" {
  description = "The template's parameter FloodThreshold."
  type        = number
  default     = null
}

variable "documentation_url" {
  description = "The template's parameter DocumentationUrl."
  type        = string
  default     = null
}

variable "kms_key_arn" {
  description = "The template's parameter KmsKeyArn."
  type        = string
  default     = null
}

variable "permissions_boundary_arn" {
  description = "The template's parameter PermissionsBoundaryArn."
  type        = string
  default     = null
}

variable "role_path" {
  description = "The template's parameter RolePath."
  type        = string
  default     = null
}
