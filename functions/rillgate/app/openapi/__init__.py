"""The API described as OpenAPI 3.1, for `GET /openapi.json`. Pure, and imported only when somebody asks for it.

`schemas` says what bodies look like, `answers` what every answer and header is, `operations` has one entry for each
route, `document` puts them together. A route without an entry fails a test that names it; so does an answer of a
running gateway that differs from what is said here.
"""
