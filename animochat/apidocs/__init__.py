"""The contract for client authors, as machines read it: AsyncAPI, OpenAPI and TypeScript, and a page that shows it.

All of it is made from the types that the server itself validates and encodes with, so that it can't fall behind.
"""
