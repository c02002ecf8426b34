"""The demo engine's models as lists show them."""

from deploy.local.demo_engine.models import CATALOGUE


def test_no_two_models_look_alike_in_a_list() -> None:
    labels = {
        (shown["family"], shown["parameter_size"], shown["quantization_level"])
        for shown in (model.details() for model in CATALOGUE)
    }
    assert len(labels) == len(CATALOGUE) > 1
