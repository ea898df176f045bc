"""Python that runs inside the interpreter, beside a scorecard's code: nothing here is imported by the service.

`prelude` defines what the code finds: `Score`, `log`, and what the interpreter lacks. The other files are the modules
of the standard library and of rapidfuzz that the interpreter does not have, as far as scorecards use them. All is
written in what the interpreter supports: no inheritance, properties, generators, `del`.
"""
