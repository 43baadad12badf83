"use strict";
SwaggerUIBundle({
  url: new URL("openapi.json", window.location.href).href,
  dom_id: "#api",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  // Never ask a validator on the internet about this document.
  validatorUrl: null,
});
