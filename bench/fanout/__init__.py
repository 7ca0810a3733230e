"""What it costs to tell many subscribers of one change, beside the servers one would compare with.

`target` is what a server under test must offer, `baselines`, `nchan` and `flagent` offer it; `load` drives the load
client (C, compiled on the spot); `scenario` says what is done to the `subject`s and measured, `report` and `document`
what is made of it.
"""
