#!/bin/sh
# Start the function. On Lambda the runtime API is there; elsewhere the emulator of the base image stands in for it.
handler="${1:-${PLEXUS_HANDLER:-}}"
if [ -z "$handler" ]; then
  echo "no handler: build with Dockerfile.fn, or give one, such as lambda_functions.score_processing.handler.handler" >&2
  exit 1
fi
if [ -z "${AWS_LAMBDA_RUNTIME_API:-}" ]; then
  if [ -x /usr/local/bin/aws-lambda-rie ]; then
    exec /usr/local/bin/aws-lambda-rie /var/lang/bin/python3 -m awslambdaric "$handler"
  fi
  echo "AWS_LAMBDA_RUNTIME_API is not set and this image has no emulator" >&2
  exit 1
fi
exec /var/lang/bin/python3 -m awslambdaric "$handler"
