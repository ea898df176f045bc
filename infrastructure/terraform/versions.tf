terraform {
  required_version = ">= 1.9"

  # Bucket, key, region and table come from backend.local.hcl.
  backend "s3" {}

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.80"
    }
    random = {
      source  = "hashicorp/random"
      version = "~> 3.6"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      service = "plexus-scoring"
      stage   = var.stage
    }
  }
}
