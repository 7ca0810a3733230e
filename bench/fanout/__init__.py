"""What it costs to deliver one change to many subscribers, compared with other broadcast servers.

`target` is the interface of a server under test; `baselines`, `nchan` and `flagent` implement it. `load` drives the
load client (C, compiled when first used). `scenario` defines the measurements of the `subject`s, and `report` and
`document` render the results.
"""
