"""Lists the effective value and the origin of every setting, with secrets hidden."""

from pydantic import BaseModel

from mcp_queue.config.declaration import EnvVar, Setting, settings_of
from mcp_queue.config.documentation.descriptions import value_text
from mcp_queue.config.loading.layers import LayeredConfig
from mcp_queue.config.schema.values import hide_credentials
from mcp_queue.config.settings import EffectiveSetting

HIDDEN = "****"


def effective_settings(layers: LayeredConfig) -> tuple[EffectiveSetting, ...]:
    """Return every setting of the processes, in the order of its declaration."""
    found: list[EffectiveSetting] = []
    for model in (layers.environment, layers.document):
        for setting in settings_of(type(model)):
            value, written = _look_up(model, setting)
            origin = layers.origins.get(setting.path, "file" if written else "default")
            shown = _shown(value, setting.env_var)
            found.append(EffectiveSetting(setting.key, setting.env_var.name, shown, origin))
    return tuple(found)


def _look_up(model: BaseModel, setting: Setting) -> tuple[object, bool]:
    """Return the value of ``setting``, and whether the file or the environment holds it."""
    value: object = model
    written = False
    for name in setting.path:
        assert isinstance(value, BaseModel)
        written = bool({name, setting.env_var.follows} & value.model_fields_set)
        value = getattr(value, name)
    return value, written


def _shown(value: object, env_var: EnvVar) -> str:
    if value in {None, ()}:
        return env_var.default or "none"
    return HIDDEN if env_var.secret else hide_credentials(value_text(value))
