"""The demo: an embedded Kinesis, the real service, a producer and sample files, and a live view of the ledger.

kinesis_child, leash   children that end with the demo, however that ends
plan                   what this run will do: folder, settings, command lines
children               starts and stops them
feed                   the producer's thread and the sample files; what was sent
watch                  what the ledger says; rates, ages
service_log            what the service's log says
state                  what is shown at one moment
display, view, plain   the same for a terminal and for a pipe
course                 start, send, stop; a look at log and ledger four times a second
proof, report          audit, the query, sent against arrived, what to try next
show                   all of it, top to bottom
"""
