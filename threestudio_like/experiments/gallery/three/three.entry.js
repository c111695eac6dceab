export {
  BufferAttribute, BufferGeometry, Color, DirectionalLight, HemisphereLight, Mesh, MeshLambertMaterial,
  PerspectiveCamera, Scene, SRGBColorSpace, WebGLRenderer,
} from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
