"""A check whether the hub can be reached: once a process, in two seconds instead of the libraries' 23 to 70."""

import contextlib
import functools
import os
import re
import sys
import threading

from huggingface_hub import constants, get_session
from huggingface_hub.file_download import repo_folder_name

from cdeval.errors import HubError

_PATIENCE = 2.0  # seconds


@functools.cache
def hub_reachable() -> bool:
    """Whether the hub (or the mirror that HF_ENDPOINT names) answers within two seconds, with anything but an outage.

    Uses the client, proxies and certificates of the libraries that will do the work. HF_HUB_OFFLINE means no.
    """
    if constants.is_offline_mode():
        return False
    answers: list[int] = []

    def ask() -> None:
        # Any error is the same answer, and its class depends on the hub library's HTTP client.
        with contextlib.suppress(Exception):
            answers.append(get_session().head(constants.ENDPOINT, timeout=_PATIENCE).status_code)

    # A timeout of the client covers neither name resolution nor a proxy's silence; a thread left behind does no harm.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return bool(answers) and answers[0] < 500


def require_hub(asked: str, instead: str, repo: str | None = None, kind: str = "model") -> None:
    """Return if the hub can be asked, or if `repo` was downloaded before; the libraries then stay offline.

    Args: asked: what the user wants, for the message. instead: what works without the hub, for the message.
        repo: its id on the hub, if a copy in the local cache will do. kind: `model` or `dataset`.
    Raises: HubError: the hub does not answer and there is no such copy.
    """
    if hub_reachable():
        return
    if repo is None or not _was_downloaded(repo, kind):
        endpoint = re.sub(r"//[^/@]*@", "//", constants.ENDPOINT)  # a mirror's address may hold a password
        raise HubError(
            f"{asked} is on the Hugging Face hub, which could not be reached at {endpoint} (or HF_HUB_OFFLINE "
            f"forbids it), and there is no copy in {constants.HF_HUB_CACHE}. Works without the hub: {instead}."
        )
    _stay_offline()


def _was_downloaded(repo: str, kind: str) -> bool:
    snapshots = os.path.join(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo, repo_type=kind), "snapshots")
    return os.path.isdir(snapshots) and bool(os.listdir(snapshots))


def _stay_offline() -> None:
    """Tell the libraries what is known now; each would otherwise find out by itself, with five retries a file."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # for libraries that are imported later
    constants.HF_HUB_OFFLINE = True
    if "datasets" in sys.modules:  # keeps a copy of its own
        sys.modules["datasets"].config.HF_HUB_OFFLINE = True
