"""How a call to Plexus's API says who makes it: with the API's key, or signed with the process's AWS credentials.

AppSync takes Signature Version 4 for the service name ``appsync`` where an API has AWS_IAM among its authorization
modes ("Security", AWS AppSync Developer Guide). Settings are those of Plexus's own client.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from plexus_scoring.model.errors import StoreUnavailable, shorten
from plexus_scoring.stores.plexus_api.errors import Misconfigured

if TYPE_CHECKING:
    from botocore.credentials import Credentials

CONTENT_TYPE = {"content-type": "application/json"}
_SERVICE = "appsync"
_HOST_MARK = "appsync-api"


class Signer(Protocol):
    """Makes the headers of a POST."""

    async def headers(self, url: str, body: bytes) -> dict[str, str]:
        """Return what goes with this body. Raises StoreUnavailable, Misconfigured."""
        ...


class ApiKey:
    """The API's key in ``x-api-key``."""

    def __init__(self, key: str) -> None:
        self._headers = {**CONTENT_TYPE, "x-api-key": key}

    async def headers(self, url: str, body: bytes) -> dict[str, str]:  # noqa: ARG002  a key knows no content
        """Return the key's header."""
        return self._headers


class IamSignature:
    """Signature Version 4 with the credentials that botocore finds (role, environment, profile), renewed as they end.

    Args:
        region: The API's region; None: as its address says (``….appsync-api.REGION.amazonaws.com``).
    """

    def __init__(self, region: str | None = None) -> None:
        self._region = region

    async def headers(self, url: str, body: bytes) -> dict[str, str]:
        """Return content type, date, signature and, of temporary credentials, the token."""
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415  a process with a key need not pay for it

        region = self._region or region_of(url)
        if region is None:
            raise Misconfigured(
                "PLEXUS_API_URL is no address of AppSync's own, so PLEXUS_GRAPHQL_AUTH_MODE=iam needs PLEXUS_API_REGION"
            )
        try:
            # Temporary credentials are renewed by blocking calls.
            return await asyncio.to_thread(self._signed, url, body, region)
        except BotoCoreError as error:
            raise StoreUnavailable(
                f"AWS credentials for Plexus's API: {shorten(str(error), 200)}"
            ) from error

    @functools.cached_property
    def _credentials(self) -> Credentials | None:
        import botocore.session  # noqa: PLC0415  see above

        return botocore.session.get_session().get_credentials()

    def _signed(self, url: str, body: bytes, region: str) -> dict[str, str]:
        from botocore.auth import SigV4Auth  # noqa: PLC0415  see above
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        credentials: Any = self._credentials
        if credentials is None:
            raise Misconfigured(
                "PLEXUS_GRAPHQL_AUTH_MODE=iam, but there are no AWS credentials: give the process a role"
            )
        request = AWSRequest("POST", url, headers=CONTENT_TYPE, data=body)
        SigV4Auth(credentials.get_frozen_credentials(), _SERVICE, region).add_auth(request)
        return dict(request.headers.items())


def region_of(url: str) -> str | None:
    """Return the region in the address of an AppSync API, None for a name of one's own."""
    labels = (urlsplit(url).hostname or "").split(".")
    if _HOST_MARK not in labels[:-1]:
        return None
    return labels[labels.index(_HOST_MARK) + 1]
