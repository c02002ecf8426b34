"""What the audit says of administrative commands: which act, on what, and about whom."""

from typing import NamedTuple

from shared.contracts.api_keys import CreateKey, KeyReply, RevokeKey
from shared.contracts.ids import UserId
from shared.contracts.presets import (
    AllModelSettings,
    CreatePreset,
    DeletePreset,
    PresetReply,
    SetModelSettings,
    UpdatePreset,
)
from shared.contracts.subjects import full_model_name
from shared.contracts.user_purge import PurgeUser, UserDataReply


class Act(NamedTuple):
    """One command, as the audit names it."""

    action: str
    target: str
    user: UserId | None = None
    """Whose things it is about."""


def key_created(command: CreateKey, _reply: KeyReply | None) -> Act:
    """Of an administrator's key or of any other."""
    kind = "admin_key" if command.roles else "key"
    return Act(f"{kind}.create", f"key:{command.key_id}", command.user_id)


def key_revoked(command: RevokeKey, reply: KeyReply | None) -> Act:
    """Whose it was only the reply knows."""
    user = reply.key.user_id if reply is not None and reply.key is not None else None
    return Act("key.revoke", f"key:{command.key_id}", user)


def models_set(command: SetModelSettings, _reply: AllModelSettings | None) -> Act:
    """One model's settings, or the default of all users."""
    if command.settings is not None:
        return Act("model_settings.set", f"model:{full_model_name(command.settings.model)}")
    if command.default_model is not None:
        return Act("default_model.set", f"model:{full_model_name(command.default_model)}")
    return Act("default_model.clear", "model:")


def preset_created(command: CreatePreset, _reply: PresetReply | None) -> Act | None:
    """What all users see from now on; a private one is nobody else's business."""
    if not command.public:
        return None
    return Act("public_preset.create", f"preset:{command.preset_id}", command.user_id)


def preset_changed(command: UpdatePreset, reply: PresetReply | None) -> Act | None:
    """What all users see, or saw until now."""
    target = f"preset:{command.preset_id}"
    if reply is None or reply.preset is None:
        # It has failed: perhaps in making it public.
        wanted = Act("public_preset.change", target, command.user_id)
        return wanted if command.public else None
    if reply.preset.public:
        return Act("public_preset.change", target, command.user_id)
    return Act("preset.make_private", target, command.user_id) if reply.was_public else None


def preset_deleted(command: DeletePreset, reply: PresetReply | None) -> Act | None:
    """What all users saw until now."""
    if reply is None or reply.preset is None or not reply.preset.public:
        return None
    return Act("public_preset.delete", f"preset:{command.preset_id}", command.user_id)


def user_purged(command: PurgeUser, _reply: UserDataReply | None) -> Act:
    """Begun, or asked for again."""
    return Act("user.purge", f"user:{command.user_id}", command.user_id)
