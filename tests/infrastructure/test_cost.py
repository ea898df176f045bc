"""The cost estimate: its page is what the command prints, and its formulas fit the stack."""

from pathlib import Path

import pytest

from infrastructure import cost
from infrastructure.config.stages import STAGES
from plexus_scoring.stores.dynamodb.table import table_definition

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cost.md"


def test_the_page_is_what_the_command_prints(capsys):
    assert cost.main([]) == 0
    assert capsys.readouterr().out in PAGE.read_text(), "make cost, and put it into docs/cost.md"


def test_each_formula_gives_its_part_by_hand():
    usd = cost.bill(cost.Load(jobs=1_000_000), cost.prices())
    assert usd["DynamoDB writes"] == pytest.approx(19 * 0.625)
    assert usd["S3"] == pytest.approx(2 * 5.00 + 10 * 0.023)
    assert usd["SQS"] == pytest.approx((2.2 + 5 * 730 * 3600 / 20 / 1e6) * 0.40)
    assert usd["Lambda compute"] == pytest.approx((500_000 + 8760 * 0.5) * 0.0000166667)
    assert usd["CloudWatch"] == pytest.approx(0.50 + 18 * 0.30 + 10 * 0.10 + 3.00)
    assert usd["X-Ray"] == pytest.approx(0.1 * 5.00)


def test_every_price_is_used_and_every_source_is_a_page():
    entries = cost.read()
    given = cost.prices()
    usual = cost.bill(cost.Load(jobs=1_000_000), given), cost.optional_parts(given)
    for name, entry in entries.items():
        raised = {**given, name: given[name] * 1000}
        changed = cost.bill(cost.Load(jobs=1_000_000), raised), cost.optional_parts(raised)
        assert changed != usual, f"{name} is in no formula"
        assert str(entry.get("seen", "https://")).startswith("https://")


def test_the_formulas_count_what_the_stack_has(staging):
    load = cost.Load(jobs=1)
    assert load.alarms == len(staging.of_type("AWS::CloudWatch::Alarm"))
    assert len(staging.of_type("AWS::CloudWatch::Dashboard")) == 1
    assert len(staging.of_type("AWS::KMS::Key")) == len(
        staging.of_type("AWS::SecretsManager::Secret")
    )
    for config in STAGES.values():
        assert load.batch == config.events.batch_size
        assert load.memory_gb * 1024 == config.scoring.memory_mb
        assert load.sweeps == cost.SECONDS / (60 * config.sweep_every_minutes)
    # Two index entries at the claim, four at the completion: of these three indexes.
    assert len(table_definition("any")["GlobalSecondaryIndexes"]) == 3


def test_another_load_and_other_prices_can_be_asked_for(tmp_path, capsys):
    prices = tmp_path / "prices.toml"
    prices.write_text(cost.PRICES.read_text().replace("usd = 5.00e-6\nseen", "usd = 1\nseen"))
    assert cost.main(["--jobs", "250000", "--prices", str(prices)]) == 0
    printed = capsys.readouterr().out
    assert "250 k jobs" in printed
    assert "| 500,002." in printed or "| 500,000." in printed
