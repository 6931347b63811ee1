"""Gradio kept at home: it tells nobody of us, and fetches nothing that a visitor names."""

from __future__ import annotations

import os
from typing import Any, NoReturn

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from gradio import processing_utils, routes
from starlette.exceptions import HTTPException


def keep_offline() -> None:
    """Close both roads by which gradio fetches a URL from a request; neither has a setting.

    `/gradio_api/file=https://…` passes any public page through, and a URL in the place of an
    uploaded file is downloaded (its host is even asked of a name server of Google's).
    """
    # Gradio calls its own address when it starts; a proxy set for the outside would take the call.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
    processing_utils.async_ssrf_protected_get = _refuse
    routes.secure_url_stream_response = _refuse


async def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise HTTPException(403, "This page fetches nothing: upload the file itself.")
