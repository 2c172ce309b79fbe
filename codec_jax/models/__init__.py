"""Transform codecs as Flax modules. `MODELS` in `config` lists their architectures."""
