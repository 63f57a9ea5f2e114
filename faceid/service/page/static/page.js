// What forms cannot do by themselves: photos that are dropped, pasted or taken. Everything else works without it.
"use strict";

const photosOf = (list) => [...list].filter((file) => file.type.startsWith("image/"));

function give(form, photos) {
  const input = form.querySelector("input[type=file]");
  const carried = new DataTransfer();
  photos.forEach((photo) => carried.items.add(photo));
  input.files = carried.files;
  if (form.reportValidity()) form.requestSubmit();
}

function formAround(target) {
  return (target instanceof Element && target.closest("form[data-drop]")) || document.querySelector("form[data-drop]");
}

document.addEventListener("dragover", (event) => {
  const form = formAround(event.target);
  if (!form) return;
  event.preventDefault();
  form.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.querySelectorAll(".over").forEach((form) => form.classList.remove("over"));
});
document.addEventListener("drop", (event) => {
  const form = formAround(event.target);
  if (!form) return;
  event.preventDefault();
  form.classList.remove("over");
  const photos = photosOf(event.dataTransfer.files);
  if (photos.length) give(form, photos);
});
document.addEventListener("paste", (event) => {
  const form = formAround(event.target);
  const photos = photosOf(event.clipboardData.files);
  if (form && photos.length) give(form, photos);
});

// The camera: a dialog with what it sees, and one picture of it.
async function open(form) {
  const dialog = document.querySelector("dialog[data-viewfinder]");
  const video = dialog.querySelector("video");
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, facingMode: "user" } });
  } catch {
    form.querySelector("[data-no-camera]").hidden = false;
    return;
  }
  dialog.showModal();
}

function close(dialog) {
  const video = dialog.querySelector("video");
  if (video.srcObject) video.srcObject.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
  if (dialog.open) dialog.close();
}

function take(dialog) {
  const video = dialog.querySelector("video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    close(dialog);
    if (blob) give(document.querySelector("form[data-drop]"), [new File([blob], "camera.jpg", { type: "image/jpeg" })]);
  }, "image/jpeg", 0.92);
}

document.addEventListener("click", (event) => {
  const dialog = event.target.closest("dialog");
  if (event.target.matches("[data-camera]")) open(event.target.closest("form"));
  else if (event.target.matches("[data-take]")) take(dialog);
  else if (event.target.matches("[data-close]")) close(dialog);
});
document.addEventListener("cancel", (event) => close(event.target), true);

function settle() {
  const camera = navigator.mediaDevices && navigator.mediaDevices.getUserMedia;
  document.querySelectorAll("[data-camera]").forEach((button) => { button.hidden = !camera; });
}

// What has come is what people look at, and what a screen reader reads next.
document.addEventListener("htmx:afterSwap", () => {
  settle();
  const found = document.querySelector("[data-focus]");
  if (found) { found.focus({ preventScroll: true }); found.scrollIntoView({ block: "start" }); }
});
document.addEventListener("DOMContentLoaded", settle);
