"""The shipped catalogue against the specification's vectors V1, V1a to V1d and V9."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from apps.programs.domain.catalogue import CatalogueError, plan_for, read_catalogue
from apps.programs.domain.graph import Edge, any_loop, contract, in_order, loop_through

FILE = Path("apps/programs/catalogue/gates.yaml")


@pytest.fixture(scope="module")
def raw():
    return yaml.safe_load(FILE.read_text())


@pytest.fixture(scope="module")
def catalogue(raw):
    return read_catalogue(raw)


def test_it_holds_45_gates_in_three_modes_and_transitions(catalogue):
    by_mode = {mode: sum(gate.mode == mode for gate in catalogue.gates) for mode in ("automatic", "manual", "hybrid")}
    by_transition = {name: sum(gate.transition == name for gate in catalogue.gates) for name in ("G1", "G2", "G3")}

    assert by_mode == {"automatic": 17, "manual": 14, "hybrid": 14}
    assert by_transition == {"G1": 17, "G2": 21, "G3": 7}
    assert len(catalogue.edges) == 83


def test_fifty_edges_cross_teams(catalogue):
    team = {gate.key: gate.team for gate in catalogue.gates}

    assert sum(team[edge.gate] != team[edge.needs] for edge in catalogue.edges) == 50


def test_the_gates_to_keep_green_are_named(catalogue):
    assert {gate.key for gate in catalogue.gates if gate.keep} == {
        "API-01",
        "LGL-05",
        "ML-02",
        "ML-03",
        "ML-04",
        "ML-05",
        "ML-06",
        "ML-07",
        "OPS-01",
        "OPS-03",
        "OPS-05",
        "OPS-08",
        "OPS-09",
        "PLT-02",
        "PLT-03",
        "PLT-04",
        "PLT-05",
        "PRD-03",
        "SEC-04",
        "SEC-05",
        "SEC-06",
    }


def test_some_gates_can_never_be_waived(catalogue):
    assert {gate.key for gate in catalogue.gates if not gate.waiver["allowed"]} == {
        "LGL-01",
        "LGL-04",
        "ML-07",
        "PLT-03",
        "PLT-04",
        "PLT-05",
        "PRD-01",
        "PRD-03",
        "PRD-04",
        "PRD-07",
    }
    assert {gate.key for gate in catalogue.gates if gate.waiver["allowed"] and gate.waiver["max_days"] == 14} == {
        "PLT-01",
        "SEC-01",
        "SEC-03",
    }


@pytest.mark.parametrize(("tier", "gates", "edges"), [("low", 36, 69), ("medium", 44, 81), ("high", 45, 83)])
def test_a_lower_tier_contracts_gates_without_cutting_chains(catalogue, tier, gates, edges):
    plan = plan_for(catalogue, tier=tier)

    assert (len(plan.gates), len(plan.edges)) == (gates, edges)


def test_the_go_decision_of_the_low_tier_inherits_what_the_removed_gates_waited_on(catalogue):
    plan = plan_for(catalogue, tier="low")
    needs = {edge.needs for edge in plan.edges if edge.gate == "PRD-07"}

    assert {"PLT-01", "PLT-03", "PRD-01", "PRV-01", "SEC-01", "LGL-01"} <= needs
    assert len(needs) == 19


def test_every_integration_gets_its_own_access_gate_and_dependants_wait_on_all(catalogue):
    plan = plan_for(catalogue, tier="medium", integrations=["desk", "crm"])

    assert {gate.key for gate in plan.gates if gate.key.startswith("API-01")} == {"API-01:desk", "API-01:crm"}
    assert {edge.needs for edge in plan.edges if edge.gate == "PLT-01"} == {"API-01:desk", "API-01:crm"}


def test_a_gate_whose_condition_is_false_is_contracted_and_unknown_applies(catalogue):
    settled = plan_for(catalogue, tier="high", facts={"regulatory_class": "not_high_risk"})
    unknown = plan_for(catalogue, tier="high")

    assert "LGL-04" not in {gate.key for gate in settled.gates}
    assert "LGL-04" in {gate.key for gate in unknown.gates}


def test_all_faults_of_a_catalogue_are_listed_at_once(raw):
    broken = {**raw, "gates": [dict(entry) for entry in raw["gates"]]}
    broken["gates"][0]["team"] = "wizards"
    broken["gates"][1]["estimate_days"] = [5, 3, 8]
    broken["gates"][2]["prerequisites"] = ["NOPE-01"]

    with pytest.raises(CatalogueError) as caught:
        read_catalogue(broken)

    assert caught.value.problems == (
        "PRD-01: unknown team wizards",
        "PRD-02: estimate_days [5, 3, 8] is not 0 ≤ optimistic ≤ likely ≤ pessimistic",
        "PRD-03: waits on unknown NOPE-01",
    )


def test_a_loop_is_refused_with_its_way_round(raw):
    looped = {**raw, "gates": [dict(entry) for entry in raw["gates"]]}
    looped["gates"][0]["prerequisites"] = ["PRD-03"]

    with pytest.raises(CatalogueError, match="PRD-03 → PRD-01 → PRD-03"):
        read_catalogue(looped)


def test_the_shortest_loop_is_named():
    edges = [Edge("SEC-01", "PLT-02"), Edge("PLT-02", "PLT-01")]

    assert loop_through(edges, Edge("PLT-01", "SEC-01")) == ["PLT-01", "SEC-01", "PLT-02", "PLT-01"]
    assert loop_through(edges, Edge("SEC-01", "PLT-01")) is None


def test_lags_add_up_along_a_removed_chain_and_the_larger_sum_stays():
    edges = [Edge("D", "B", 1), Edge("B", "A", 2), Edge("D", "C", 5), Edge("C", "A", 0)]

    assert contract(edges, ["B", "C"]) == [Edge("D", "A", 5)]


edges_without_loops = st.sets(
    st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda pair: pair[0] > pair[1]), max_size=40
).map(lambda pairs: [Edge(f"N{a:02}", f"N{b:02}") for a, b in sorted(pairs)])


@given(edges_without_loops, st.sets(st.integers(0, 12)))
def test_contraction_keeps_exactly_the_reachability_of_what_remains(edges, removed_numbers):
    removed = {f"N{number:02}" for number in removed_numbers}

    left = contract(edges, removed)

    assert any_loop(left) is None
    keys = {f"N{number:02}" for number in range(13)} - removed
    for key in keys:
        assert _reachable(left, key) == _reachable(edges, key) - removed


@given(edges_without_loops)
def test_an_order_puts_each_gate_after_all_it_needs(edges):
    keys = [f"N{number:02}" for number in range(13)]

    ordered = in_order(keys, edges)

    assert sorted(ordered) == keys
    assert all(ordered.index(edge.needs) < ordered.index(edge.gate) for edge in edges)


def _reachable(edges, start):
    found, todo = set(), [start]
    while todo:
        here = todo.pop()
        for edge in edges:
            if edge.gate == here and edge.needs not in found:
                found.add(edge.needs)
                todo.append(edge.needs)
    return found
