"""The price table: decimal, first name that fits, and what is wrong with it said at start."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.api.prices import Price, PriceTable, money, parse_price_table
from services.api.settings import ApiSettings
from shared.settings import load_or_exit

TABLE = (
    '{"llama3:8b": {"prompt": "0.15", "completion": 0.6}, "llama*": {"prompt": 1},'
    ' "b": {"completion": 0}}'
)


def table(text: str) -> PriceTable:
    found = parse_price_table(text)
    assert isinstance(found, PriceTable)
    return found


def test_the_first_name_that_fits_counts_and_others_cost_nothing() -> None:
    prices = table(TABLE)
    assert prices.price_of("llama3:8b") == Price(Decimal("0.15"), Decimal("0.6"))
    assert prices.price_of("llama3") == Price(Decimal(1))
    assert prices.price_of("LLAMA3") == Price()
    assert table('{"a:latest": {"prompt": 2}}').price_of("a") == Price(Decimal(2))
    assert table('{"a": {"prompt": 2}}').price_of("a:latest") == Price(Decimal(2))
    assert PriceTable().price_of("a") == Price()


def test_money_is_exact_where_floats_are_not() -> None:
    prices = table('{"*": {"prompt": 0.1, "completion": 0.2}}')
    assert prices.cost({"a": (1, 1), "b": (1, 1)}) == Decimal("0.0000006")
    assert money(prices.cost({"a": (3_000_000, 0)})) == "0.300000"
    dear = table('{"*": {"prompt": 1000000, "completion": 999999.999999}}')
    most = dear.cost({"a": (2**63 - 1, 2**63 - 1)})
    assert Fraction(most) == Fraction((2**63 - 1) * 1_999_999_999_999, 10**12)
    assert money(most) == "18446744073700328241.963145"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.000000"),
        ("0.0000005", "0.000000"),
        ("0.0000015", "0.000002"),
        ("1E+3", "1000.000000"),
    ],
)
def test_an_amount_has_six_digits_after_the_point_half_to_even(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text


WRONG = [
    ("{", "not valid JSON"),
    ("[]", "cannot read the price table"),
    ('{"a": 1}', "the price of 'a' is written"),
    ('{"a": {}}', "the price of 'a' is written"),
    ('{"a": {"input": 1}}', "the price of 'a' is written"),
    ('{"a": {"prompt": null}}', "the prompt price of 'a' is not a number"),
    ('{"a": {"prompt": true}}', "the prompt price of 'a' is not a number"),
    ('{"a": {"prompt": "much"}}', "the prompt price of 'a' is not a number"),
    ('{"a": {"prompt": NaN}}', "the prompt price of 'a' is not a number"),
    ('{"a": {"prompt": "Infinity"}}', "the prompt price of 'a' is not a number"),
    ('{"a": {"completion": -1}}', "not between 0 and 1000000"),
    ('{"a": {"completion": 1e300}}', "not between 0 and 1000000"),
    ('{"a": {"completion": 0.0000001}}', "more than 6 digits"),
    ('{"a": {"prompt": 1}, "a": {"prompt": 2}}', "'a' stands twice"),
    ("/nowhere/prices.json", "cannot read the price table /nowhere/prices.json: No such file"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_table_is_refused_with_a_sentence(text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ApiSettings.model_validate({"prices": text})


@pytest.mark.parametrize("currency", ["", "=1", "E R", "a" * 17])
def test_a_currency_is_a_short_name(currency: str) -> None:
    with pytest.raises(ValidationError):
        ApiSettings.model_validate({"currency": currency})


def test_the_table_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prices.json"
    path.write_text(TABLE)
    monkeypatch.setenv("API_PRICES", str(path))
    assert ApiSettings().prices == table(TABLE)
    path.write_bytes(b"\xff")
    with pytest.raises(ValidationError, match="not UTF-8"):
        ApiSettings()
    path.write_text("[]")
    with pytest.raises(ValidationError, match="a JSON object"):
        ApiSettings()


def test_no_table_is_a_table_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PRICES", "")
    assert ApiSettings().prices == PriceTable()


def test_a_wrong_table_stops_the_start_and_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("API_PRICES", '{"a": {"prompt": -1}}')
    with pytest.raises(SystemExit):
        load_or_exit(ApiSettings)
    said = capsys.readouterr().err
    assert said == (
        "Wrong setting: API_PRICES: the prompt price of 'a' is not between 0 and 1000000.\n"
    )
