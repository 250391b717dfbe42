"""The engine as its users meet it: a daemon, a gateway, services that come, change and go."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from modelport_engine.client import EngineClient
from modelport_engine.errors import (
    EngineStartFailed,
    EngineUnavailable,
    InvalidObject,
    NotFound,
    PortInUse,
    RevisionFailed,
    StorageFailed,
)
from modelport_engine.processes import owned
from tests_engine_support import Load, conditions, eventually, free_port, request, service

if TYPE_CHECKING:
    from tests_engine_support import Home
