output "outputs" {
  description = "The outputs of the stack, such as WebhookUrl, SetSecretCommand and EventBusName."
  value       = aws_cloudformation_stack.scalekit.outputs
}
