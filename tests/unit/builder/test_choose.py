from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kubectl_build.builder.choose import choose, preference
from kubectl_build.builder.state import PodInfo


def _pods(count: int) -> list[PodInfo]:
    return [PodInfo(name=f"b-amd64-{number}", namespace="n", uid=str(number), architecture="amd64") for number in range(count)]


@given(st.text(), st.integers(1, 9))
def test_choose_idle_pods_gives_a_context_always_the_same(key: str, count: int) -> None:
    pods = _pods(count)

    assert choose(pods, key, {}) == choose(list(reversed(pods)), key, {}) == preference(pods, key)[0]


@given(st.text(), st.integers(2, 9))
def test_choose_with_one_pod_less_moves_only_the_contexts_of_that_pod(key: str, count: int) -> None:
    pods = _pods(count)
    before = choose(pods, key, {})

    for gone in pods:
        left = [pod for pod in pods if pod is not gone]
        if gone is not before:
            assert choose(left, key, {}) == before


@given(st.integers(1, 6), st.lists(st.text(max_size=3), max_size=60))
def test_choose_one_after_another_gives_no_pod_much_more_than_its_share(count: int, keys: list[str]) -> None:
    pods, load = _pods(count), Counter[str]()
    for number, key in enumerate(keys, start=1):
        load[choose(pods, key, load).name] += 1

        assert max(load.values()) <= 1.25 * number / count + 1


def test_choose_spreads_contexts_over_idle_pods() -> None:
    chosen = Counter(choose(_pods(4), f"context {number}", {}).name for number in range(400))

    assert len(chosen) == 4
    assert min(chosen.values()) > 60


def test_choose_leaves_a_pod_that_has_more_than_its_share() -> None:
    pods = _pods(2)
    first, second = preference(pods, "k")

    assert choose(pods, "k", {first.name: 4}) == second
    assert choose(pods, "k", {first.name: 1}) == first
