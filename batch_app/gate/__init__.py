"""`validate`: the quality gate for files. The same decoders, casts and suite as the stream's, before anything is published.

Rows that cannot be decoded or cast fail as they would in the stream. All others, typed, are given to one of two engines:
Great Expectations itself, which runs every expectation of the suite, or our compiled predicates in one pass.
"""
