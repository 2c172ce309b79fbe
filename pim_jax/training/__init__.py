"""The shared training runtime: it knows no model, no batch key and no loss.

Import the modules by name: `task` (the contract), `loop`, `devices`, `checkpoint`,
`optimizer`, `report`, `page` and what these use. Nothing is imported here, so that
importing one does not load the others.
"""
