"""`dead-letters`: what was rejected, by whom and why; and what became of it: replayed, discarded or still open.

The files of `dead_letter/` are never changed. What people decide is kept in a book of its own under
`checkpoints/dead_letters/` (book.py), one entry an action, so that a dead letter is published or discarded at most once.
"""
