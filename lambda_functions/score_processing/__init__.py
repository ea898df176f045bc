"""Scores what SQS, S3, SNS, EventBridge or an invocation brings."""
