"""An object store that speaks S3 over HTTP on this machine, for the tests of URLs."""

import os
from contextlib import contextmanager

import fsspec
from moto.server import ThreadedMotoServer


@contextmanager
def object_store():
    """Its file system; URLs s3://… lead there, for this process and those that it starts."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "name",
        "AWS_SECRET_ACCESS_KEY": "word",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MOTO_S3_DEFAULT_MAX_KEYS": "5",  # told at once; a real store tells a thousand
    }
    kind = fsspec.get_filesystem_class("s3")
    kind.clear_instance_cache()  # what another test opened may ask a server that is gone
    try:
        yield kind()
    finally:
        kind.clear_instance_cache()
        os.environ.clear()
        os.environ.update(before)
        server.stop()
