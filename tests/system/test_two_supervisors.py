"""Two supervisors and two nodes: one sleeps past its lease, or dies, and the other goes on."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml
from redis.asyncio import Redis

from deployments.contracts.jobs import Job
from deployments.state.connection import connect
from deployments.state.jobs import RedisJobStore
from deployments.state.keys import Keys
from deployments.state.queue import GROUP
from serve_app.embedded.home import Home
from serve_app.embedded.processes import Child, free_port
from serve_app.embedded.ray_node import OBJECT_STORE_BYTES
from serve_app.embedded.system import Wishes, running_system
from tests.conftest import LOCAL_CONFIG, RunningSystem, system_in
from tests.system.struck_jobs import (
    Passages,
    documents,
    ended,
    fresh_collection,
    passages,
    processes_of,
    undisturbed,
)
