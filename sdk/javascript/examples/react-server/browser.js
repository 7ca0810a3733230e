import { createElement as h } from "react";
import { hydrateRoot } from "react-dom/client";
import { Page } from "./app.js";

const bootstrap = JSON.parse(document.getElementById("bootstrap").textContent);
hydrateRoot(document.getElementById("root"), h(Page, { bootstrap }), { onRecoverableError: (error) => console.error("hydration:", error) });
