import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { FlagentClient } from "@flagent/realtime";
import { LocalStoragePersistence } from "@flagent/realtime/persistence";
import { FlagentProvider } from "@flagent/realtime/react";
import { App } from "./app.jsx";

const makeClient = () => new FlagentClient(window.location.origin);
const options = { persistence: new LocalStoragePersistence() };

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <FlagentProvider client={makeClient} options={options} entity={{ entityID: "user123", entityContext: { country: "DE" } }}>
      <App />
    </FlagentProvider>
  </StrictMode>,
);
