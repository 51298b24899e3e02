"""The bus: streams in Valkey of what happened and of what a model is writing. All of it may be lost and rebuilt."""
