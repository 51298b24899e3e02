"""The sealer process: signed audit blocks and their anchors."""
