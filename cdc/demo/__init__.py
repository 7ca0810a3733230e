"""The demo: flags that change by themselves."""
