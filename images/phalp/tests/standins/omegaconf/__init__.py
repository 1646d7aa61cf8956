"""Stand-in for omegaconf: nested settings with attributes."""


class Settings(dict):
    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__

    def merge_with(self, other):
        for key, value in other.items():
            if isinstance(value, Settings):
                self[key].merge_with(value)
            else:
                self[key] = value


def _wrap(value):
    return Settings({k: _wrap(v) for k, v in value.items()}) if isinstance(value, dict) else value


class OmegaConf:
    @staticmethod
    def structured(kind):
        return _wrap(kind.DEFAULTS)

    @staticmethod
    def create(values):
        return _wrap(values)

    @staticmethod
    def merge(base, over):
        merged = Settings(base)
        for key, value in over.items():
            merged[key] = OmegaConf.merge(base[key], value) if isinstance(value, dict) else value
        return merged
