"""How the service is deployed: CDK app, Terraform, Helm."""
