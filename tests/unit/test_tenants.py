"""The tenant as a value, a context and in headers."""

from __future__ import annotations

import contextvars
import threading

import pytest

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.tenants import TenantContext, current_tenant, with_tenant
from tests.cases import each


def test_the_context_is_there_inside_and_gone_outside_also_after_an_error() -> None:
    acme, other = TenantContext("acme", "blog"), TenantContext("other")
    assert current_tenant() is None
    with with_tenant(acme):
        with pytest.raises(InvalidInput), with_tenant(other):
            TenantContext("not a name")
        with with_tenant(other):
            assert current_tenant() == other
        assert current_tenant() == acme
    assert current_tenant() is None


def test_a_thread_starts_without_the_tenant_unless_it_copies_the_context() -> None:
    seen: list[TenantContext | None] = []
    with with_tenant(TenantContext("acme")):
        context = contextvars.copy_context()
        for target in (lambda: seen.append(current_tenant()), lambda: context.run(lambda: seen.append(current_tenant()))):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert seen == [None, TenantContext("acme")]


def test_headers_bring_back_the_same_tenant() -> None:
    tenant = TenantContext("acme", "blog")
    assert TenantContext.from_headers(tenant.to_headers()) == tenant


@pytest.mark.parametrize("headers", [{}, {"tenant": 5}, {"tenant": "a b"}, {"tenant": "acme", "workspace": None}])
def test_headers_without_a_valid_tenant_give_none(headers: dict[str, object]) -> None:
    assert TenantContext.from_headers(headers) is None


@each("name", ["", ".x", "a/b", "a:b", "x" * 65, "é", "a b", "a|b", "a\n"])
def test_names_that_could_break_a_key_a_path_or_a_label_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        TenantContext(name)
    assert refused.value.field == "tenant_id"
    with pytest.raises(InvalidInput) as refused:
        TenantContext("acme", name)
    assert refused.value.field == "workspace_id"
