// The requests of "Try it out" go to where this page is, also behind a proxy that serves it under a prefix.
const root = new URL(".", location.href).href;
const response = await fetch(new URL("openapi.json", root));
const spec = { ...(await response.json()), servers: [{ url: root.replace(/\/$/, "") }] };

SwaggerUIBundle({
  spec,
  dom_id: "#api",
  deepLinking: true,
  // The default shows the document to a service on the internet.
  validatorUrl: null,
});
