"""The service: memsched over HTTP (`memsched serve`). Needs the extra ``service``; nothing else imports it."""
