"""Who answers questions about presets, settings of models and preferences."""

from collections.abc import Sequence
from typing import Any

from services.history.acts import models_set, preset_changed, preset_created, preset_deleted
from services.history.handlers import Operation
from services.history.preferences import KeptSettings
from services.history.presets import Presets
from shared.contracts import presets as asked


def preset_operations(presets: Presets, settings: KeptSettings) -> Sequence[Operation[Any, Any]]:
    """All of ``shared.contracts.presets``."""
    return (
        Operation(asked.LIST_PRESETS, presets.page),
        Operation(asked.GET_PRESET, presets.get),
        Operation(asked.CREATE_PRESET, presets.create, act=preset_created),
        Operation(asked.UPDATE_PRESET, presets.update, act=preset_changed),
        Operation(asked.DELETE_PRESET, presets.delete, act=preset_deleted),
        Operation(asked.MODEL_SETTINGS, settings.models),
        Operation(asked.SET_MODEL_SETTINGS, settings.set_model, act=models_set),
        Operation(asked.GET_PREFERENCES, settings.preferences),
        Operation(asked.CHANGE_PREFERENCES, settings.change_preferences),
        Operation(asked.SET_PREFERENCES, settings.set_preferences),
    )
