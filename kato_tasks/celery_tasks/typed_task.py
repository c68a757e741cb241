"""The types that the public tasks have for mypy and pyright.

Celery has no types: to a checker ``app.task(…)`` makes ``Any``. ``TypedTask`` says which parameters a task's callers
give and what its result holds. At run time a task is what Celery made, an instance of its Task class.

What stays ``Any``, since a type cannot say it: the arguments inside ``apply_async(args, kwargs)`` (a sequence and a
mapping; they are checked when the call is made), Celery's options, the arguments that a chain adds to a signature, and
everything of a result or signature that is not named here. Both are Celery's classes to a checker, so they may be
given to ``chain``, ``group`` and to code that takes Celery's ``AsyncResult`` or ``Signature``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, Protocol, Self, TypeVar, overload

from kato_tasks.domain.results_json import PredictedJson, RawPredictedJson

P = ParamSpec("P")
Rest = ParamSpec("Rest")
R_co = TypeVar("R_co", covariant=True)

if TYPE_CHECKING:
    from celery.canvas import Signature
    from celery.result import AsyncResult

    Step = TypeVar("Step", bound=Signature)

    class TypedResult(AsyncResult[R_co], Generic[R_co]):
        """Celery's result of a task, which knows what ``get`` returns and can be awaited. For annotations only."""

        id: str
        state: str

        def get(self, timeout: float | None = None, propagate: bool = True, **options: Any) -> R_co:
            """Wait until the task has ended, for up to ``timeout`` seconds, and return its result.

            ``options`` are Celery's. Raises the task's own error, or ``celery.exceptions.TimeoutError``.
            """

        async def aget(self, timeout: float | None = None, propagate: bool = True) -> R_co:
            """Return what ``get`` returns, and let the event loop go on meanwhile."""

        def ready(self) -> bool:
            """Return whether the task has ended."""

        def successful(self) -> bool:
            """Return whether the task has ended without an error."""

        def failed(self) -> bool:
            """Return whether the task has ended with an error."""

    class TypedSignature(Signature[R_co], Generic[R_co]):
        """A call that is not made yet: a step of a chain, a group or a chord. For annotations only."""

        def delay(self, *args: Any, **kwargs: Any) -> TypedResult[R_co]:
            """Make the call; ``args`` stand before the arguments that it has already."""

        def apply_async(
            self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
        ) -> TypedResult[R_co]:
            """Make the call with Celery's options, such as ``countdown`` in seconds."""

        def set(self, immutable: bool | None = None, **options: Any) -> Self:
            """Set options of the call, and return it."""

        def clone(
            self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
        ) -> Self:
            """Return a copy with these arguments and options added."""

        def __or__(self, other: Step) -> Step:
            """Return the chain of both. It is a step itself, whose result is that of the last one."""

else:

    class TypedResult(Generic[R_co]):
        """What annotations call the result of a task. Results themselves are of Celery's class."""

    class TypedSignature(Generic[R_co]):
        """What annotations call a step of a chain. Steps themselves are of Celery's class."""


class TypedTask(Protocol[P, R_co]):
    """The type of a public task. ``P`` is its callers' parameters, and ``R_co`` is what its result holds."""

    name: str
    app: Any

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Carry the task out in this process, without a worker, and wait for it."""

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> TypedResult[R_co]:
        """Append the event and send its task; return its result, which comes later."""

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        expires: float | datetime | None = None,
        **options: Any,
    ) -> TypedResult[R_co]:
        """Do what ``delay`` does, with Celery's options. ``countdown`` and ``expires`` are in seconds."""

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> TypedResult[R_co]:
        """Do what ``delay`` does, and let the event loop go on meanwhile."""

    async def aapply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        expires: float | datetime | None = None,
        **options: Any,
    ) -> TypedResult[R_co]:
        """Do what ``apply_async`` does, and let the event loop go on meanwhile."""

    def delay_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Do what ``delay`` does once Django's transaction is committed."""

    def apply_async_on_commit(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """Do what ``apply_async`` does once Django's transaction is committed."""

    def apply(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> TypedResult[R_co]:
        """Carry the task out in this process, and return its result."""

    @overload
    def s(self, *args: P.args, **kwargs: P.kwargs) -> TypedSignature[R_co]: ...
    @overload
    def s(
        self: TypedTask[Concatenate[Any, Rest], R_co], *args: Rest.args, **kwargs: Rest.kwargs
    ) -> TypedSignature[R_co]: ...

    def si(self, *args: P.args, **kwargs: P.kwargs) -> TypedSignature[R_co]:
        """Return the call as a step that takes nothing from the step before it."""

    def signature(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> TypedSignature[R_co]:
        """Return the call as a step, with Celery's options."""

    def AsyncResult(self, task_id: str, **options: Any) -> TypedResult[R_co]:  # noqa: N802  Celery's name
        """Return the result of a call by its task id."""


class PredictTask(TypedTask[[str], PredictedJson], Protocol):
    """The type of ``predict``. With ``raw=True`` its result holds KATO's own predictions."""

    @overload
    def __call__(self, session_id: str, *, raw: Literal[False] = ...) -> PredictedJson: ...
    @overload
    def __call__(self, session_id: str, *, raw: bool) -> PredictedJson | RawPredictedJson: ...

    @overload
    def delay(self, session_id: str, *, raw: Literal[False] = ...) -> TypedResult[PredictedJson]: ...
    @overload
    def delay(self, session_id: str, *, raw: Literal[True]) -> TypedResult[RawPredictedJson]: ...
    @overload
    def delay(self, session_id: str, *, raw: bool) -> TypedResult[PredictedJson | RawPredictedJson]: ...

    @overload
    async def adelay(self, session_id: str, *, raw: Literal[False] = ...) -> TypedResult[PredictedJson]: ...
    @overload
    async def adelay(self, session_id: str, *, raw: Literal[True]) -> TypedResult[RawPredictedJson]: ...
    @overload
    async def adelay(self, session_id: str, *, raw: bool) -> TypedResult[PredictedJson | RawPredictedJson]: ...

    @overload
    def s(self, session_id: str, *, raw: Literal[False] = ...) -> TypedSignature[PredictedJson]: ...
    @overload
    def s(self, session_id: str, *, raw: Literal[True]) -> TypedSignature[RawPredictedJson]: ...
    @overload
    def s(self, session_id: str, *, raw: bool) -> TypedSignature[PredictedJson | RawPredictedJson]: ...
    @overload
    def s(self, *, raw: Literal[False] = ...) -> TypedSignature[PredictedJson]: ...
    @overload
    def s(self, *, raw: Literal[True]) -> TypedSignature[RawPredictedJson]: ...

    @overload
    def si(self, session_id: str, *, raw: Literal[False] = ...) -> TypedSignature[PredictedJson]: ...
    @overload
    def si(self, session_id: str, *, raw: Literal[True]) -> TypedSignature[RawPredictedJson]: ...
    @overload
    def si(self, session_id: str, *, raw: bool) -> TypedSignature[PredictedJson | RawPredictedJson]: ...


__all__ = ["PredictTask", "TypedResult", "TypedSignature", "TypedTask"]
