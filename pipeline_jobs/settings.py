"""Every setting, from the environment, in one frozen object. `docs/settings.md` is generated from the descriptions here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, ValidationError

from pipeline_jobs import disk
from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.pools.pool_settings import PoolSettings
from pipeline_jobs.starting import OutsideSettings, Url, environment, is_of_service, server_url
from pipeline_jobs.starting import setting as _setting

_PREFIXES = ("PIPELINE_", "ENABLE_PIPELINE_")
#: Read elsewhere: no setting of an installation.
_ELSEWHERE = frozenset({"PIPELINE_FAILPOINTS"})

#: The prefix of an installation that has its server for itself: Celery's names have none.
DEFAULT_PREFIX = "pj:"


class Settings(PoolSettings, OutsideSettings):
    """Read once at start. A field is read from `PIPELINE_` and its name; its description says its purpose, unit and special values."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, validate_default=True)

    # The brief's flags
    enable_job_queue: bool = _setting(
        False, "Serve the job endpoints. If off, they return 404 and name this flag.", env="ENABLE_PIPELINE_JOB_QUEUE"
    )
    enable_run_api: bool = _setting(False, "Serve POST /pipeline/run.", env="ENABLE_PIPELINE_RUN_API")
    max_concurrent_jobs: int = _setting(
        5,
        "Maximum number of running jobs over all workers of the pool `default`: the worker that started last with this setting decides, "
        "and the store keeps it for all processes. Also the autoscale maximum of a worker started with neither --autoscale nor -c.",
        ge=1,
        le=100_000,
    )
    reserved_slots: int | None = _setting(
        None,
        "How many slots are kept from any one tenant: while another tenant had a job in the last hour, a tenant may hold all slots but so "
        "many. 0: none. Empty: 1 if there are at least 4 slots, else none.",
        ge=0,
        le=100_000,
    )
    job_ttl_seconds: int = _setting(3600, "How long the record of a job that has ended is kept, in seconds.", ge=1)
    artifact_ttl_seconds: int = _setting(
        604_800,
        "How long the files of a job that has ended are kept, in seconds, if it has no `retain_seconds`; never shorter than its record.",
        ge=0,
    )

    # Where things are
    redis_url: Annotated[str, AfterValidator(server_url)] = _setting(
        "redis://127.0.0.1:6399/0",
        "The store: a Redis or Valkey server with AOF on and policy noeviction; or `sentinel://HOST:PORT;sentinel://...?master_name=NAME`.",
    )
    broker_url_setting: str = _setting(
        "", "Celery's broker. Empty: the store's server, which accepts and enqueues a job in one step.", env="CELERY_BROKER_URL"
    )
    key_prefix: str = _setting(
        DEFAULT_PREFIX,
        "Prefix of every key in the store, so that several installations can share a server. Any other than the default also stands before "
        "the names of Celery's queues, exchanges and channels on the broker. Drain the installation before you change it.",
        pattern=r"^[A-Za-z0-9:_.-]{1,32}$",
    )
    cell: int = _setting(0, "Number of this installation among several: the first hex digit of the eight that end a new id.", ge=0, le=15)
    artifacts_url: Url = _setting(
        "", "Where artifacts are stored, as an fsspec URL (file:///..., s3://...). Empty: `artifacts` in the data folder."
    )
    data_dir: Annotated[Path, AfterValidator(Path.resolve)] = _setting(
        Path(".run"), "Folder for everything that this installation writes to its own disk."
    )
    work_dir_setting: str = _setting(
        "", "Folder for the working files of running jobs. Empty: `work` in the data folder.", env="PIPELINE_WORK_DIR"
    )
    public_url: Url = _setting("", "URL of the API for clients, used in links. Empty: http://{host}:{port} of the API.")
    secret_key: str = _setting(
        "",
        "Signs links to artifacts. Empty: a random key is kept in the store; with the queue off, in the data folder (`signing-key`).",
        repr=False,
    )
    log_format: str = _setting(
        "console", "Format of the log lines of every process: `console` for people or `json`.", pattern="^(console|json)$"
    )
    modules: str = _setting("", "Python modules that register pipelines, imported at startup; separated by commas.")

    # HTTP
    http_host: str = _setting("127.0.0.1", "Address that the API listens on.")
    http_port: int = _setting(8000, "Port of the API (make run). 0: any free port.", ge=0, le=65535)
    http_workers: int = _setting(2, "Number of API processes (make run).", ge=1)
    http_threads: int = _setting(16, "Threads of each API process; a waiting request occupies one.", ge=1)
    http_streams: int = _setting(
        200,
        "Maximum number of open event streams (SSE, WebSocket) of each API process; above it, new streams get 503. Each stream has "
        "its own thread, in addition to PIPELINE_HTTP_THREADS.",
        ge=1,
        le=5000,
    )
    http_streams_per_tenant: int = _setting(
        100, "Maximum number of them for one tenant, over all API processes; above it, new ones get 429.", ge=1
    )
    http_connections_per_address: int = _setting(
        400,
        "Maximum number of connections from one client address (of an IPv6 network, /64) to each API process, which does not apply behind "
        "trusted proxies, and of one tenant's requests that wait for a thread; above it: 429.",
        ge=1,
    )
    trusted_proxies: int = _setting(
        0,
        "Number of proxies in front of the API, each of which appends to X-Forwarded-For and sets X-Forwarded-Proto. The client's address "
        "and scheme are then taken from these headers. 0: the headers are not believed.",
        ge=0,
        le=10,
    )
    flower_port: int = _setting(5555, "Port of Flower (make run). 0: any free port.", ge=0, le=65535)
    flower_password: str = _setting(
        "",
        "Password of Flower's user `flower`. FLOWER_BASIC_AUTH and FLOWER_AUTH take precedence. Empty: a random password is "
        "generated once and kept in the data folder, in `flower-password`.",
        pattern=r"^([!-~]{12,200})?$",
        repr=False,
    )
    flower_hosts: str = _setting(
        "",
        "Host names for which Flower accepts requests, separated by commas, in addition to its address and the loopback names. "
        "Requests for other hosts get 403.",
    )
    redis_port: int = _setting(6399, "Port of the embedded server (make run). 0: any free port.", ge=0, le=65535)
    exporter_port: int = _setting(9808, "Port of celery-exporter (make run). 0: any free port.", ge=0, le=65535)
    metrics_tenants: int = _setting(100, "Maximum number of tenants with their own metrics, the first ones; others are `_other`.", ge=0)
    metrics_workspaces: int = _setting(20, "Maximum number of workspaces of a tenant with their own metrics; others are `_other`.", ge=0)
    metrics_series: int = _setting(
        5000,
        "Maximum number of series of a scrape of the store's metrics. Beyond it only tenants that had the most jobs have their own; others "
        "are `_other`.",
        ge=500,
        le=100_000,
    )
    metrics_host: str = _setting("127.0.0.1", "Address that the metrics exporter and the workers' metrics listen on.")
    metrics_port: int = _setting(
        9809, "Port of the metrics exporter, which shows the store's metrics. 0: any free port (make run).", ge=0, le=65535
    )
    worker_metrics_port: int | None = _setting(
        None, "Port of this worker's own metrics. Each worker of a machine needs its own. Empty: it shows none.", ge=1, le=65535
    )
    api_metrics: str = _setting(
        "process",
        "What `GET /metrics` of the API shows, unless the request says (`?scope=`): `process` (its own numbers) or `all` (the store's too: "
        "only where one API is scraped and no exporter).",
        pattern=r"^(process|all)$",
    )
    require_keys: bool = _setting(
        False, "Require an API key even before the first one is created (`celery -A celery_app jobs key create`)."
    )
    ui: bool = _setting(True, "Serve the web page at /pipeline/ui. If off, it returns 404 and names this setting.")
    ui_session_seconds: int = _setting(
        14_400, "Lifetime of a session of the web page, in seconds; revoking its key ends it at once.", ge=60
    )
    audit_retention_seconds: float = _setting(
        31_536_000,
        "How long a row of the audit log is kept, in seconds. Fewer are kept of a tenant with more than about 10,000 rows of security or "
        "2,000 of daily work (the installation: 50,000 and 10,000).",
        ge=1,
    )
    keep_stage_bytes: int = _setting(
        1_073_741_824,
        "Maximum size of a stage's output that is kept for retries, in bytes; it is deleted with the job's record. 0: none is kept.",
        ge=0,
    )
    disk_reserve_bytes: int | None = _setting(
        None,
        "Free space that uploads, artifacts, working folders and the history leave on their disk, in bytes; with less, new ones get 507. "
        "Empty: 5 % of the disk, at least 2 GiB, at most 50 GiB.",
        ge=0,
    )
    max_body_bytes: int = _setting(1_048_576, "Maximum request body, in bytes; a larger one gets 413.", ge=1024)
    upload_max_bytes: int = _setting(2 * 1024**3, "Maximum upload size, in bytes; above it: 413.", ge=1)
    upload_ttl_seconds: float = _setting(
        86_400,
        "How long an upload is kept after its last byte arrived, in seconds. It is kept longer while a job that has not ended needs it.",
        gt=0,
    )
    request_seconds: float = _setting(
        30, "Time in which the headers of a request, its JSON body, or 64 KiB of an upload must arrive, in seconds.", gt=0
    )
    send_seconds: float = _setting(
        30,
        "How long a client may leave an answer unread, in seconds; 16 KiB that it reads earn it another second. Then its connection is "
        "reset.",
        gt=0,
    )
    run_timeout_seconds: float = _setting(60, "Maximum time that a request waits for a job, in seconds.", gt=0)

    # Leases and duties
    lease_seconds: float = _setting(60, "How long a job's lease lasts without a heartbeat, in seconds; then the job is rescued.", gt=0)
    announce_seconds: float = _setting(1, "How often a worker announces its slots and renews its leases, in seconds.", gt=0)
    finish_claims: bool = _setting(True, "Whether the process that ends a job takes its worker's next one itself, without a message.")
    hint_seconds: float = _setting(15, "How long a dispatched job may stay unclaimed before it is dispatched again, in seconds.", gt=0)
    rescue_seconds: float = _setting(5, "How often beat looks for the jobs of dead workers, in seconds.", gt=0)
    cleanup_seconds: float = _setting(60, "How often beat deletes jobs with an expired TTL, in seconds.", gt=0)
    shutdown_grace_seconds: float = _setting(
        5, "How long the jobs of a worker may continue after it was told to stop (SIGTERM), before it hands them back, in seconds.", ge=0
    )
    canary_seconds: float = _setting(60, "How often a canary job is sent through the queue `jobs`, in seconds. 0: never.", ge=0)
    fire_seconds: float = _setting(5, "How often beat looks for schedules that are due, in seconds.", gt=0)
    schedule_grace_seconds: float = _setting(
        60, "How late a schedule's slot may be fired as if on time, in seconds. Its `catch_up` decides about later ones.", ge=1
    )
    schedule_catch_up: int = _setting(
        100,
        "Maximum number of slots of a schedule that wait to be fired: missed slots (catch_up `all`) and slots that wait for a "
        "running job (overlap `queue`). Further slots are skipped.",
        ge=1,
        le=1000,
    )
    max_schedules_per_tenant: int = _setting(100, "Maximum number of schedules of a tenant; above it: 422.", ge=0)
    max_queued: int = _setting(1_000_000, "Maximum number of queued jobs in the installation; above it, new jobs get 503.", ge=1)
    max_parked_per_tenant: int = _setting(10_000, "Maximum number of jobs of a tenant that wait for signals; the next one fails.", ge=0)
    max_queued_per_tenant: int = _setting(100_000, "Maximum number of queued jobs of a tenant; above it, new jobs get 429.", ge=1)
    max_ended_per_tenant: int = _setting(
        200_000,
        "Maximum number of ended jobs of a tenant that are kept, unless its limits set another value; of more, those that ended first are "
        "removed before their time.",
        ge=0,
    )
    max_storage_bytes_per_tenant: int = _setting(
        50 * 1024**3,
        "Maximum size of a tenant's artifacts, kept outputs and uploads in total, in bytes, unless its limits set another value; "
        "above it, new jobs and uploads get 429. 0: no limit.",
        ge=0,
        le=10**15,
    )
    max_reuse_bytes_per_tenant: int = _setting(
        1024**3, "Maximum size of a tenant's outputs of stages that are kept for its other jobs, in bytes. 0: none are.", ge=0, le=10**15
    )
    submit_rate_per_key: float = _setting(
        0,
        "Maximum number of jobs per second for one API key (or one address, if no key is required); above it: 429. 0: no limit.",
        ge=0,
        le=1_000_000,
    )
    events_per_job: int = _setting(1000, "Maximum number of events in a job's log, the newest; about 60 bytes each.", ge=10, le=7000)
    events_per_tenant: int = _setting(
        10_000, "Approximate number of events in a tenant's feed (`GET /pipeline/events`); about 40 bytes each. 0: no feed.", ge=0
    )
    memory_watermark: float = _setting(
        0.75,
        "Memory usage above which a tenant that holds more than its share gets no new jobs (429), as a fraction of the server's maxmemory "
        "(if that is 0, of its machine's memory). At six tenths of what is above it nobody gets any (503).",
        gt=0,
        le=1,
    )
    allow_unsafe_store: bool = _setting(
        False,
        "Accept jobs on a server that may lose or evict them (no AOF, or another maxmemory-policy), and do not wait for its disk if "
        "appendfsync is not `always`. /health/ready shows this.",
    )
    max_crashes: int = _setting(3, "Number of crashes of its process at which a job fails (worker_lost). 1: of its worker, too.", ge=1)
    max_run_seconds: float = _setting(
        21_600,
        "Maximum run time of a job over all its runs, in seconds, unless its pipeline sets another value (`max_run_seconds`). Then "
        "the job fails with the code run_too_long. A tenant's limit may be lower.",
        gt=0,
        le=31_536_000,
    )
    cancel_grace_seconds: float = _setting(
        15, "How long a cancelled stage may take to stop before its process is killed, in seconds.", gt=0
    )
    job_memory_bytes: int = _setting(
        2 * 1024**3,
        "Maximum memory of a job's process, in bytes (Linux). Above it, the job fails with the code out_of_memory. 0: no limit.",
        ge=0,
    )
    work_bytes: int = _setting(
        20 * 1024**3,
        "Maximum size of a run's working folder, in bytes. Above it, the run fails with the code work_too_large. 0: no limit.",
        ge=0,
    )

    # Media
    self_test: bool = _setting(
        True,
        "Try the pipelines' own tests as a worker starts: of `media`, a second of film behind the walls in which media is decoded. "
        "If a test fails, that worker does not run the pipeline.",
    )
    allow_private_urls: bool = _setting(False, "Permit media from private and loopback addresses. For trusted networks only.")
    media_max_bytes: int = _setting(2 * 1024**3, "Maximum size of a media file, in bytes.", ge=1)
    media_max_seconds: float = _setting(4 * 3600, "Maximum duration of media, in seconds.", gt=0)
    media_max_pixels: int = _setting(7680 * 4320, "Maximum picture size, in pixels (width x height).", ge=1)

    whisper_model: str = _setting(
        "",
        "Folder of a Whisper model in CTranslate2's format, for the extra `whisper`. Empty: the official base model, fetched at its first "
        "use and compared with its SHA-256.",
    )

    # Webhooks
    webhook_allow_private: bool = _setting(
        False, "Permit webhooks to private and loopback addresses, to any port and over http. Use this in a trusted network only."
    )
    webhook_seconds: float = _setting(5, "How often beat checks that a webhook sender is running, in seconds. 0: never.", ge=0)
    webhook_timeout_seconds: float = _setting(15, "Maximum time for a webhook request in total, in seconds.", gt=0, le=120)
    webhook_retry_seconds: str = _setting(
        "5,300,1800,7200,18000,36000,50400,72000,86400",
        "Delays before the retries of a webhook, in seconds, separated by commas; there is one attempt more than there are numbers.",
        pattern=r"^[0-9]{1,7}(\.[0-9]{1,3})?(,[0-9]{1,7}(\.[0-9]{1,3})?){0,29}$",
    )
    webhook_ledger_seconds: float = _setting(
        604_800, "How long a delivered or dead webhook is kept and can be sent again, in seconds.", ge=1
    )
    webhook_rotation_seconds: float = _setting(86_400, "How long the old secret also signs after a rotation, in seconds.", ge=0)
    webhook_threads: int = _setting(
        32, "Maximum number of webhooks that a sender starts at once; four times as many more may wait for slow receivers.", ge=2, le=256
    )
    webhook_tenant_concurrency: int = _setting(8, "Maximum number of concurrent webhooks of a tenant, over all senders.", ge=1)
    webhook_host_concurrency: int = _setting(
        4, "Maximum number of concurrent webhooks to one host of a tenant, over all senders; half as many while it answers slowly.", ge=1
    )

    @property
    def broker_url(self) -> str:
        """Celery's broker URL: the store's unless `CELERY_BROKER_URL` names another."""
        return self.broker_url_setting or self.redis_url

    @property
    def celery_prefix(self) -> str:
        """What stands before Celery's names on the broker and in its keys: nothing with the default prefix, as it always was."""
        return "" if self.key_prefix == DEFAULT_PREFIX else self.key_prefix

    @property
    def broker_is_store(self) -> bool:
        """The store's scripts can push hints themselves."""
        return self.broker_url == self.redis_url

    @cached_property
    def module_list(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.modules.split(",") if name.strip())

    @cached_property
    def flower_host_list(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.flower_hosts.split(",") if name.strip())

    @cached_property
    def webhook_retry_table(self) -> tuple[float, ...]:
        """Seconds to wait after each failed try but the last."""
        return tuple(float(number) for number in self.webhook_retry_seconds.split(","))

    @property
    def work_dir(self) -> Path:
        return Path(self.work_dir_setting).resolve() if self.work_dir_setting else self.data_dir / "work"

    def disk_reserve(self, folder: Path) -> int:
        """Bytes that must stay free on the disk of this folder."""
        return disk.reserve(folder) if self.disk_reserve_bytes is None else self.disk_reserve_bytes

    @property
    def artifacts_root(self) -> str:
        """fsspec URL of the folder that holds all artifacts."""
        return self.artifacts_url or (self.data_dir / "artifacts").as_uri()

    @property
    def base_url(self) -> str:
        """Where clients reach the API, without a trailing slash."""
        return self.public_url or f"http://{self.http_host}:{self.http_port}"


def env_names() -> dict[str, str]:
    """Each environment variable and the field it sets: `{"PIPELINE_HTTP_PORT": "http_port", ...}`."""
    last = sorted(Settings.model_fields.items(), key=lambda field: field[0] in OutsideSettings.model_fields)
    return {str(info.validation_alias or f"PIPELINE_{name}".upper()): name for name, info in last}


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings from the environment and the file `.env`, or from these variables.

    :raises ConfigurationError: a value is wrong, or a name that looks like ours is unknown ("did you mean ...?"). What Kubernetes says
        of its services is passed over.
    """
    given = environment() if environ is None else environ
    environ = {name: value for name, value in given.items() if not is_of_service(name, value)}
    names = env_names()
    for name in environ:
        if name.startswith(_PREFIXES) and name not in names and name not in _ELSEWHERE:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f": did you mean {close[0]}?" if close else f"; known: {', '.join(sorted(names))}"
            raise ConfigurationError(f"unknown setting {name}{hint}")
    values = {field: environ[name] for name, field in names.items() if environ.get(name, "") != ""}
    try:
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = str(first["loc"][0]) if first["loc"] else "settings"
        name = next((env for env, field in names.items() if field == where), where)
        raise ConfigurationError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None
