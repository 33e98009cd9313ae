/*
 * Reads /ui/data each second and shows it. Texts get into the page as text nodes only, so that a
 * name is never parsed as HTML.
 */
"use strict";

const INTERVAL_MS = 1000;
const PATIENCE_MS = 5000; /* the socket takes connections also while the daemon hangs */

/* ---- elements */

function make(name, text, className) {
    const element = document.createElement(name);
    element.textContent = text;
    element.className = className || "";
    return element;
}

/* Cells are texts or elements. */
function row(...cells) {
    const tr = document.createElement("tr");
    for (const cell of cells) {
        const td = document.createElement("td");
        td.append(cell);
        tr.append(td);
    }
    return tr;
}

function show(id, ...children) {
    document.getElementById(id).replaceChildren(...children);
}

function stateMark(state) {
    return make("span", state, state === "current" || state === "done" ? "well" : "ill");
}

/* ---- what the document says of a volume */

function contentOf(volume) {
    return volume.volume || { state: "waiting" };
}

function objectsOf(volume) {
    return volume.objects || (volume.object ? [volume.object] : []);
}

function nameOf(object) {
    return [object.kind.toLowerCase(), object.namespace, object.name].filter(Boolean).join("/");
}

function versionOf(object) {
    const shown = object.resourceVersion || "-";
    const newest = object.newestResourceVersion;
    return newest ? `${shown} (newest: ${newest})` : shown;
}

/* [consumers that have the newest version, all that have opened the object]; null: not known.
 * @name: of an object; undefined: of any */
function countConsumers(volume, name) {
    const consumers = contentOf(volume).consumers;
    let current = 0, all = 0;
    if (!consumers || consumers.known === false)
        return null;
    for (const consumer of consumers.list) {
        const keys = consumer.keys.filter(
            (key) => name === undefined || key.object.toLowerCase() === name);
        if (keys.length > 0) {
            all++;
            current += keys.every((key) => key.state === "current") ? 1 : 0;
        }
    }
    return [current, all];
}

function oldConsumers(volume) {
    const consumers = contentOf(volume).consumers;
    const old = consumers ? consumers.list.filter((consumer) => consumer.state !== "current") : [];
    return old.map((consumer) => consumer.process || "-").join(", ");
}

/* ---- rollouts */

function addToRollout(rollout, volume, object) {
    const consumers = countConsumers(volume, rollout.name);
    rollout.version = object.newestResourceVersion || object.resourceVersion || rollout.version;
    rollout.volumes++;
    if (!object.newestResourceVersion && contentOf(volume).state === "current")
        rollout.shown++;
    rollout.isKnown = rollout.isKnown && consumers !== null;
    rollout.current += consumers ? consumers[0] : 0;
    rollout.consumers += consumers ? consumers[1] : 0;
}

/* By object; those that are under way come first. */
function rolloutsOf(volumes) {
    const found = new Map();
    for (const volume of volumes) {
        for (const object of objectsOf(volume)) {
            const name = nameOf(object);
            if (!found.has(name))
                found.set(name, { name, version: "-", volumes: 0, shown: 0, consumers: 0,
                                  current: 0, isKnown: true });
            addToRollout(found.get(name), volume, object);
        }
    }
    const isDone = (r) => r.shown === r.volumes && r.current === r.consumers;
    const list = [...found.values()].map((r) => ({ ...r, isDone: isDone(r) }));
    return list.sort((a, b) => a.isDone - b.isDone || a.name.localeCompare(b.name));
}

function rolloutRow(r) {
    return row(r.name, r.version, stateMark(r.isDone ? "done" : "under way"),
               `${r.shown} of ${r.volumes}`,
               r.isKnown ? `${r.current} of ${r.consumers}` : "not noted");
}

/* ---- the other tables */

function duration(seconds) {
    return seconds < 1 ? `${+(seconds * 1000).toPrecision(3)} ms` : `${+seconds.toPrecision(3)} s`;
}

function bucketRow(bucket, most) {
    const bar = document.createElement("meter");
    bar.max = Math.max(most, 1);
    bar.value = bucket.count;
    const bound = bucket.le === undefined ? "longer" : `up to ${duration(bucket.le)}`;
    return row(bound, String(bucket.count), bar);
}

function volumeRow(volume) {
    const objects = objectsOf(volume);
    const content = contentOf(volume);
    const update = volume.lastUpdate;
    const consumers = countConsumers(volume);
    const old = oldConsumers(volume);
    return row(volume.pod || volume.static || volume.mountpoint || "-",
               objects.map(nameOf).join(", "), stateMark(content.state),
               objects.map(versionOf).join(", "), update ? String(update.count) : "-",
               update ? `${update.time}, after ${duration(update.latencySeconds)}` : "-",
               consumers ? `${consumers[0]} of ${consumers[1]} current` : "not noted",
               content.error || (old ? `older version: ${old}` : ""));
}

function render(data) {
    const { process, states, propagation, volumes } = data;
    const mean = propagation.count > 0 ? propagation.sumSeconds / propagation.count : 0;
    const most = Math.max(...propagation.buckets.map((bucket) => bucket.count));
    show("process", `Node ${process.node}, driver ${process.driver}, version ${process.version}, ` +
                    `since ${process.since}`);
    show("states", ...Object.entries(states).map(
        ([state, count]) => row(count > 0 ? stateMark(state) : state, String(count))));
    show("updates", `${propagation.count} updates, ${duration(mean)} on average`);
    show("propagation", ...propagation.buckets.map((bucket) => bucketRow(bucket, most)));
    show("rollouts", ...rolloutsOf(volumes).map(rolloutRow));
    show("volumes", ...volumes.map(volumeRow));
    show("omitted", data.omitted > 0 ? `${data.omitted} more volumes are not shown; all of them: ` +
                                       "secretfs status" : "");
}

/* ---- the loop */

function fail(text) {
    show("failure", text);
    document.body.classList.toggle("is-silent", text !== "");
}

async function update() {
    try {
        const reply = await fetch("/ui/data", { cache: "no-store", credentials: "omit",
                                                signal: AbortSignal.timeout(PATIENCE_MS) });
        if (!reply.ok)
            throw new Error(`${reply.status} ${reply.statusText}`);
        render(await reply.json());
        fail("");
    } catch (error) {
        fail(`The daemon does not answer (${error.message}). What follows is the last state.`);
    }
    setTimeout(update, INTERVAL_MS);
}

update();
