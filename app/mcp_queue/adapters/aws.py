"""Makes the session that every AWS client starts from."""

from aiobotocore.session import AioSession


def aws_session() -> AioSession:
    """Return a session that finds credentials, region and endpoints by AWS's own chain and variables."""
    # botocore reads AWS_DEFAULT_REGION only; the other AWS tools, and their documentation, say AWS_REGION.
    return AioSession({"region": ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], None, None)})
