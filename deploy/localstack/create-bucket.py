# ruff: noqa: INP001  # a script, no module
"""Creates the bucket of the compose stack. LocalStack runs it, in its own process, once it is ready.

With persistence switched on, LocalStack runs it again: a bucket that exists stays as it is.
"""

import os

import botocore.session

# Only a test sets it.
ENDPOINT = os.environ.get("AWS_ENDPOINT_URL", "http://localhost:4566")  # noqa: TID251  # no part of the product

botocore.session.get_session().create_client(
    "s3",
    region_name="us-east-1",
    endpoint_url=ENDPOINT,
    aws_access_key_id="test",
    aws_secret_access_key="test",  # noqa: S106  # LocalStack takes any
).create_bucket(Bucket="mcp-queue-payloads")
